#pragma once
// What a test lets go wrong between a queue and the kernel. Nothing does, where nobody asked for it.

#include <atomic>
#include <cstdint>

namespace trainyard {

struct FaultPlan {
  // The request that fails, counted from 1, and with which error number; 0: none.
  int64_t at = 0;
  int error = 0;
  // Whether every request asks for less than its block.
  bool cuts_short = false;
};

class Faults {
 public:
  explicit Faults(const FaultPlan& plan) : plan_(plan) {}

  // How many of the wanted bytes a request asks for, a multiple of `step` unless it is all.
  int64_t asked(int64_t wanted, int64_t step) const {
    const int64_t half = wanted / 2 / step * step;
    return plan_.cuts_short && half > 0 ? half : wanted;
  }

  // What a request comes back with: bytes, or a negative error number.
  int64_t result(int64_t real) {
    if (plan_.at == 0) return real;
    return count_.fetch_add(1, std::memory_order_relaxed) + 1 == plan_.at ? -plan_.error : real;
  }

 private:
  const FaultPlan plan_;
  std::atomic<int64_t> count_{0};
};

}  // namespace trainyard
