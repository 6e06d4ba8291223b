// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <thread>
#include <vector>

// Splits the range from 0 to count into one part per thread and runs work(begin, end, part) on each in parallel. Uses
// fewer threads if a part would process too few numbers to repay the start of a thread.
template <typename Work> void parallel_parts(int64_t count, int64_t numbers, int64_t threads, const Work& work) {
    constexpr int64_t minimum = 1 << 16;
    threads = std::clamp(numbers / minimum, int64_t(1), std::min(threads, count));
    std::vector<std::thread> others;
    for (int64_t i = 1; i < threads; ++i) others.emplace_back(work, count * i / threads, count * (i + 1) / threads, i);
    work(0, count / threads, 0);
    for (std::thread& other : others) other.join();
}
