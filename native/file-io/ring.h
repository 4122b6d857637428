#pragma once
// io_uring by its system calls alone: two rings in memory that the kernel and this process share. One thread uses it.

#ifdef __linux__
#include <linux/io_uring.h>
#include <sys/syscall.h>
#if defined(__NR_io_uring_setup) && defined(IORING_OFF_SQES)
#define TRAINYARD_RING 1
#endif
#endif

#ifdef TRAINYARD_RING

#include <cstdint>

#include "open-file.h"

namespace trainyard {

// A part of the ring's file in memory.
class RingMemory {
 public:
  RingMemory(int file, uint64_t bytes, uint64_t offset);
  RingMemory(const RingMemory&) = delete;
  ~RingMemory();

  template <typename Value>
  Value* at(uint32_t offset) const {
    return reinterpret_cast<Value*>(static_cast<char*>(data_) + offset);
  }

 private:
  void* data_;
  uint64_t bytes_;
};

class Ring {
 public:
  // Throws std::system_error where the kernel has none or does not allow it.
  explicit Ring(uint32_t entries);

  // Prepares a request. There is room for `entries` between two calls of `submit`. Its completion carries `tag`.
  void prepare(uint8_t operation, int file, void* data, uint32_t length, uint64_t offset, uint64_t tag);

  // Hands over what was prepared and waits for as many completions.
  void submit(uint32_t wait_for);

  // Calls `visit(tag, result)` for each completion that is there.
  template <typename Visit>
  void reap(Visit&& visit) {
    uint32_t head = *completion_head_;
    const uint32_t tail = __atomic_load_n(completion_tail_, __ATOMIC_ACQUIRE);
    for (; head != tail; ++head) {
      const io_uring_cqe completion = completions_[head & completion_mask_];
      __atomic_store_n(completion_head_, head + 1, __ATOMIC_RELEASE);
      visit(completion.user_data, completion.res);
    }
  }

 private:
  // Filled in by the set-up, before what is made of it.
  io_uring_params parameters_;
  OpenFile file_;
  RingMemory submission_;
  RingMemory completion_;
  RingMemory entries_;
  uint32_t* submission_tail_;
  uint32_t submission_mask_;
  uint32_t* submission_order_;
  uint32_t* completion_head_;
  uint32_t* completion_tail_;
  uint32_t completion_mask_;
  io_uring_cqe* completions_;
  io_uring_sqe* requests_;
  uint32_t prepared_ = 0;
};

}  // namespace trainyard

#endif
