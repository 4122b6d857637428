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

#include <algorithm>
#include <mutex>
#include <vector>

namespace trainyard {
namespace {

struct Buffer {
  c10::Allocator* allocator;
  c10::DataPtr memory;
  size_t bytes;
};

// A buffer in use: a storage may be shorter than the buffer under it, and does not know. The weak pointer keeps the
// storage's address from being another's, as that of its memory is sooner or later.
struct Loan {
  c10::weak_intrusive_ptr<c10::StorageImpl> storage;
  const void* data;
  size_t bytes;
};

std::mutex buffers_mutex;

std::vector<Buffer>& free_buffers() {
  // Never destroyed: a tensor may go after it.
  static auto* buffers = new std::vector<Buffer>();
  return *buffers;
}

std::vector<Loan>& loans() {
  static auto* lent = new std::vector<Loan>();
  return *lent;
}

void lend(const c10::Storage& storage, Buffer buffer) {
  std::erase_if(loans(), [](const Loan& loan) { return loan.storage.expired(); });
  loans().push_back({storage.getWeakStorageImpl(), buffer.memory.get(), buffer.bytes});
  storage.set_data_ptr(std::move(buffer.memory));
}

// How much memory there is under a storage from which it is being taken.
size_t end_loan(const c10::StorageImpl* storage, const void* data) {
  const auto loan = std::find_if(loans().begin(), loans().end(), [&](const Loan& each) {
    return each.storage._unsafe_get_target() == storage && each.data == data;
  });
  if (loan == loans().end()) return storage->nbytes();
  const size_t bytes = loan->bytes;
  loans().erase(loan);
  return bytes;
}

const c10::Storage& own_storage(const at::Tensor& flat) {
  const c10::Storage& storage = flat.storage();
  TORCH_CHECK(storage.allocator() != nullptr, "this memory has another owner");
  return storage;
}

// The shortest that is long enough; else the longest, which the new one then replaces.
void allocate_memory_(const at::Tensor& flat) {
  const c10::Storage& storage = own_storage(flat);
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
  Buffer buffer{};
  if (chosen != buffers.end()) {
    if (chosen->bytes >= storage.nbytes()) buffer = std::move(*chosen);
    buffers.erase(chosen);
  }
  if (!buffer.memory) buffer = {storage.allocator(), storage.allocator()->allocate(storage.nbytes()), storage.nbytes()};
  lend(storage, std::move(buffer));
}

void release_memory_(const at::Tensor& flat, bool reuse) {
  const c10::Storage& storage = own_storage(flat);
  const std::lock_guard<std::mutex> lock(buffers_mutex);
  const size_t bytes = end_loan(storage.unsafeGetStorageImpl(), storage.data());
  c10::DataPtr memory = storage.set_data_ptr(c10::DataPtr(nullptr, flat.device()));
  if (memory && reuse) free_buffers().push_back({storage.allocator(), std::move(memory), bytes});
}

// Gives back to the allocator what is kept for a next one that will not come.
void free_released_memory() {
  const std::lock_guard<std::mutex> lock(buffers_mutex);
  free_buffers().clear();
}

}  // namespace
}  // namespace trainyard

TORCH_LIBRARY_FRAGMENT(trainyard, library) {
  library.def("release_memory_(Tensor(a!) flat, bool reuse) -> ()", &trainyard::release_memory_);
  library.def("free_released_memory() -> ()", &trainyard::free_released_memory);
  library.def("allocate_memory_(Tensor(a!) flat) -> ()", &trainyard::allocate_memory_);
}
