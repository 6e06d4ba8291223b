#pragma once

#include <algorithm>
#include <cstdint>
#include <thread>
#include <vector>

// Runs work(begin, end, number) on as many parts of 0 to count as there are threads; fewer where a part would hold less
// numbers than are worth the start of a thread.
template <typename Work> void in_parts(int64_t count, int64_t numbers, int64_t threads, const Work& work) {
    constexpr int64_t least = 1 << 16;
    threads = std::clamp(numbers / least, int64_t(1), std::min(threads, count));
    std::vector<std::thread> others;
    for (int64_t i = 1; i < threads; ++i) others.emplace_back(work, count * i / threads, count * (i + 1) / threads, i);
    work(0, count / threads, 0);
    for (std::thread& other : others) other.join();
}
