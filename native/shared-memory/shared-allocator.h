#pragma once
// Tensors in memory that other processes of this host can map: each allocation is an anonymous file of its own.

#include <ATen/core/Tensor.h>
#include <c10/core/Allocator.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "shared-memory/anonymous-file.h"

namespace trainyard {

// Where another process finds some memory of this one. The number of the region is never used again.
struct SharedPlace {
  uint64_t number = 0;
  FileAddress region;
  uint64_t offset = 0;
};

// A tensor in such memory, with whatever happens to be in it (zeros, where the memory is new).
at::Tensor shared_empty(const std::vector<int64_t>& shape, c10::ScalarType dtype);

// The place of memory that the allocator gave out; nothing for other memory.
std::optional<SharedPlace> shared_place_of(const void* data);

}  // namespace trainyard
