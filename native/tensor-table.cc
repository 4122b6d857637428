#include "tensor-table.h"

namespace trainyard {

Handle TensorTable::add(at::Tensor tensor) {
  uint32_t index;
  if (free_slots_.empty()) {
    if (slots_.size() > kSlotMask) {
      throw std::runtime_error("more than a million tensors are alive: a scope is missing somewhere");
    }
    index = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    index = free_slots_.back();
    free_slots_.pop_back();
  }
  Slot& slot = slots_[index];
  slot.tensor = std::move(tensor);
  slot.live = true;
  ++live_;
  return static_cast<Handle>((slot.generation << kSlotBits) | index);
}

TensorTable::Slot& TensorTable::slot_of(Handle handle) {
  const uint32_t bits = static_cast<uint32_t>(handle);
  const uint32_t index = bits & kSlotMask;
  if (handle <= 0 || index >= slots_.size()) throw FreedHandle();
  Slot& slot = slots_[index];
  if (!slot.live || slot.generation != (bits >> kSlotBits)) throw FreedHandle();
  return slot;
}

at::Tensor& TensorTable::get(Handle handle) { return slot_of(handle).tensor; }

void TensorTable::free(Handle handle) {
  Slot& slot = slot_of(handle);
  slot.live = false;
  slot.generation = slot.generation == kGenerations ? 1 : slot.generation + 1;
  free_slots_.push_back(static_cast<uint32_t>(handle) & kSlotMask);
  --live_;
  // Last, because destroying a tensor may run code that comes back here.
  at::Tensor dying = std::move(slot.tensor);
}

}  // namespace trainyard
