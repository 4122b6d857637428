#pragma once
// Host memory that other processes of this host can map: each allocation is an anonymous file of its own, which the
// kernel frees with the last process that has it, however that one ends. Nothing is left to clean up.

#include <ATen/core/Tensor.h>
#include <c10/core/Allocator.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace trainyard {

// A file by which another process maps memory of this one, through /proc/<pid>/fd/<file>. The number of a file comes to
// mean another file sooner or later, its inode does not while it is open.
struct SharedFileAddress {
  int32_t file = -1;
  uint64_t inode = 0;
  uint64_t bytes = 0;
};

// Where another process finds some memory of this one. The number of the region is never used again.
struct SharedPlace {
  uint64_t number = 0;
  SharedFileAddress region;
  uint64_t offset = 0;
};

// A tensor in such memory, with whatever happens to be in it (zeros, where the memory is new).
at::Tensor shared_empty(const std::vector<int64_t>& shape, c10::ScalarType dtype);

// The place of memory that the allocator gave out; nothing for other memory.
std::optional<SharedPlace> shared_place_of(const void* data);

// An anonymous file of so many bytes, and its memory.
struct SharedFile {
  SharedFileAddress address;
  void* data;
};
SharedFile create_shared_file(const char* name, size_t bytes);

// The file of another process, mapped; null when it cannot be opened, or is another.
void* map_shared_file(int32_t process, const SharedFileAddress& address);

}  // namespace trainyard
