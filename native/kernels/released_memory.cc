// trainyard::release_memory_ gives the memory under a flat tensor back, and trainyard::allocate_memory_ gets it new
// and unset. Every view of the tensor stays, those that autograd has kept included, and sees the new memory; so
// parameters can leave between forward and backward (PyTorch FSDP does the same with UntypedStorage.resize_). The
// storage keeps its nominal size: views can be made while there is no memory, and must not be read.
//
// What is released is kept for the next that asks, since blocks of memory that come and go between activations
// would leave holes among them: there are as many buffers as were ever in use at once, each as long as the longest
// that it had to hold.
#include <ATen/ATen.h>
#include <torch/library.h>

#include <mutex>
#include <unordered_map>
#include <vector>

namespace trainyard {
namespace {

struct Buffer {
  c10::Allocator* allocator;
  c10::DataPtr memory;
  size_t bytes;
};

std::mutex buffers_mutex;

std::vector<Buffer>& free_buffers() {
  // Never destroyed: a tensor may go after it.
  static auto* buffers = new std::vector<Buffer>();
  return *buffers;
}

// Of the buffers, in use or free: a tensor may be shorter than the buffer under it.
std::unordered_map<void*, size_t>& lengths() {
  static auto* known = new std::unordered_map<void*, size_t>();
  return *known;
}

c10::StorageImpl& own_storage(const at::Tensor& flat) {
  c10::StorageImpl* storage = flat.storage().unsafeGetStorageImpl();
  TORCH_CHECK(storage->allocator() != nullptr, "this memory has another owner");
  return *storage;
}

// The shortest that is long enough; else the longest, which the new one then replaces.
void allocate_memory_(const at::Tensor& flat) {
  c10::StorageImpl& storage = own_storage(flat);
  const std::lock_guard<std::mutex> lock(buffers_mutex);
  auto& buffers = free_buffers();
  auto chosen = buffers.end();
  for (auto buffer = buffers.begin(); buffer != buffers.end(); ++buffer) {
    if (buffer->allocator != storage.allocator() || buffer->memory.device() != flat.device()) continue;
    const bool fits = buffer->bytes >= storage.nbytes();
    const bool chosen_fits = chosen != buffers.end() && chosen->bytes >= storage.nbytes();
    if (chosen == buffers.end() || (fits && (!chosen_fits || buffer->bytes < chosen->bytes)) ||
        (!fits && !chosen_fits && buffer->bytes > chosen->bytes)) {
      chosen = buffer;
    }
  }
  c10::DataPtr memory;
  if (chosen != buffers.end()) {
    if (chosen->bytes >= storage.nbytes()) {
      memory = std::move(chosen->memory);
    } else {
      lengths().erase(chosen->memory.get());
    }
    buffers.erase(chosen);
  }
  if (!memory) {
    memory = storage.allocator()->allocate(storage.nbytes());
    lengths()[memory.get()] = storage.nbytes();
  }
  storage.set_data_ptr(std::move(memory));
}

void release_memory_(const at::Tensor& flat, bool reuse) {
  c10::StorageImpl& storage = own_storage(flat);
  c10::DataPtr memory = storage.set_data_ptr(c10::DataPtr(nullptr, flat.device()));
  if (!memory || !reuse) return;
  const std::lock_guard<std::mutex> lock(buffers_mutex);
  const auto length = lengths().find(memory.get());
  const size_t bytes = length == lengths().end() ? storage.nbytes() : length->second;
  free_buffers().push_back({storage.allocator(), std::move(memory), bytes});
}

}  // namespace
}  // namespace trainyard

TORCH_LIBRARY_FRAGMENT(trainyard, library) {
  library.def("release_memory_(Tensor(a!) flat, bool reuse) -> ()", &trainyard::release_memory_);
  library.def("allocate_memory_(Tensor(a!) flat) -> ()", &trainyard::allocate_memory_);
}
