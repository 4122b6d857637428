#pragma once
// Tensors as 31-bit integers: 20 bits of slot, 11 bits of generation. A stale handle is refused, never followed.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <stdexcept>
#include <vector>

namespace trainyard {

using Handle = int32_t;

// A handle that names no live tensor. Becomes TENSOR_FREED.
struct FreedHandle : std::runtime_error {
  FreedHandle() : std::runtime_error("the tensor was freed") {}
};

class TensorTable {
 public:
  Handle add(at::Tensor tensor);
  at::Tensor& get(Handle handle);
  void free(Handle handle);
  int64_t live() const { return live_; }

 private:
  static constexpr int kSlotBits = 20;
  static constexpr uint32_t kSlotMask = (1u << kSlotBits) - 1;
  static constexpr uint32_t kGenerations = (1u << (31 - kSlotBits)) - 1;

  struct Slot {
    at::Tensor tensor;
    uint32_t generation = 1;
    bool live = false;
  };

  Slot& slot_of(Handle handle);

  std::vector<Slot> slots_;
  std::vector<uint32_t> free_slots_;
  int64_t live_ = 0;
};

}  // namespace trainyard
