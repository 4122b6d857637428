#include "file-io/exports.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <system_error>

#include "args.h"
#include "constant-memory.h"
#include "file-io/aligned-memory.h"
#include "file-io/ring-queue.h"
#include "file-io/thread-queue.h"
#include "native-object.h"

namespace trainyard {
namespace {

// A queue that is not closed leaks: its threads may be waiting for a disk that no longer answers.
struct QueueHolder {
  std::unique_ptr<TransferQueue> queue;
  explicit QueueHolder(std::unique_ptr<TransferQueue> queue) : queue(std::move(queue)) {}
  QueueHolder(QueueHolder&&) = default;
  ~QueueHolder() { queue.release(); }
};

using FileHolder = std::shared_ptr<const TransferFile>;
using TransferHolder = std::shared_ptr<Transfer>;

QueueOptions options_of(const Arguments& arguments) {
  const auto integer = [&](const char* name) { return arguments.integer_of(arguments.property(0, name)); };
  const auto boolean = [&](const char* name) { return arguments.boolean_of(arguments.property(0, name)); };
  return {
      .block_bytes = integer("blockBytes"),
      .depth = static_cast<int>(integer("depth")),
      .threads = static_cast<int>(integer("threads")),
      .single_submit = boolean("singleSubmit"),
      .overlap_events = boolean("overlapEvents"),
      .faults = {integer("faultAt"), static_cast<int>(integer("faultError")), boolean("cutsShort")},
  };
}

std::unique_ptr<TransferQueue> ring_queue(const QueueOptions& options) {
#ifdef TRAINYARD_RING
  return std::make_unique<RingQueue>(options);
#else
  throw std::system_error(ENOSYS, std::generic_category(), "io_uring");
#endif
}

napi_value create_file_queue(napi_env env, napi_callback_info info) {
  return guarded(env, "createFileQueue", [&] {
    const Arguments arguments(env, info);
    const QueueOptions options = options_of(arguments);
    const bool uses_ring = arguments.boolean_of(arguments.property(0, "usesRing"));
    try {
      if (uses_ring) return object_value(env, QueueHolder(ring_queue(options)));
      return object_value(env, QueueHolder(std::make_unique<ThreadQueue>(options)));
    } catch (const std::system_error& error) {
      throw CodedError("OFFLOAD_UNUSABLE", error.what());
    }
  });
}

TransferQueue& queue_of(napi_env env, napi_value value) {
  QueueHolder& holder = object_of<QueueHolder>(env, value);
  if (!holder.queue) throw CodedError("OFFLOAD_FAILED", "The queue for files was closed.");
  return *holder.queue;
}

napi_value close_file_queue(napi_env env, napi_callback_info info) {
  return guarded(env, "closeFileQueue", [&] {
    const Arguments arguments(env, info);
    queue_of(env, arguments.value(0));
    object_of<QueueHolder>(env, arguments.value(0)).queue.reset();
    return undefined_value(env);
  });
}

// (descriptor, bytes): the error number, 0 for none. A file system that can't reserve gets the size alone.
napi_value reserve_file(napi_env env, napi_callback_info info) {
  return guarded(env, "reserveFile", [&] {
    const Arguments arguments(env, info);
    const int file = static_cast<int>(arguments.integer(0));
    const off_t bytes = static_cast<off_t>(arguments.integer(1));
#ifdef __linux__
    int failed;
    while ((failed = fallocate(file, 0, 0, bytes)) != 0 && errno == EINTR) {
    }
    if (failed == 0) return number_value(env, 0);
    if (errno != EOPNOTSUPP && errno != ENOSYS) return number_value(env, errno);
#endif
    return number_value(env, ftruncate(file, bytes) == 0 ? 0 : errno);
  });
}

// (descriptor): what direct I/O asks of memory and of offsets: the kernel's word, or what every disk takes.
napi_value direct_alignment(napi_env env, napi_callback_info info) {
  return guarded(env, "directAlignment", [&] {
    const Arguments arguments(env, info);
    int64_t memory = page_bytes;
    int64_t offset = page_bytes;
#ifdef STATX_DIOALIGN
    struct statx status{};
    const int file = static_cast<int>(arguments.integer(0));
    const bool is_known = statx(file, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 &&
                          (status.stx_mask & STATX_DIOALIGN) != 0 && status.stx_dio_offset_align != 0;
    if (is_known) {
      memory = status.stx_dio_mem_align;
      offset = status.stx_dio_offset_align;
    }
#endif
    return integers_value(env, {memory, offset});
  });
}

// (descriptor, direct, memory alignment, offset alignment): a file of the add-on's own over the same open file.
napi_value open_transfer_file(napi_env env, napi_callback_info info) {
  return guarded(env, "openTransferFile", [&] {
    const Arguments arguments(env, info);
    OpenFile file(fcntl(static_cast<int>(arguments.integer(0)), F_DUPFD_CLOEXEC, 0));
    if (file.descriptor() < 0) throw CodedError("OFFLOAD_UNUSABLE", "The file cannot be opened a second time.");
    return object_value(env, FileHolder(new TransferFile{std::move(file), arguments.boolean(1), arguments.integer(2),
                                                         arguments.integer(3)}));
  });
}

// Where so many bytes of a tensor begin. Whoever starts a transfer has checked that they are there; this protects memory.
char* place_in(const at::Tensor& tensor, int64_t offset, int64_t bytes, Direction direction) {
  TORCH_CHECK(tensor.is_cpu() && tensor.is_contiguous(), "files take contiguous tensors of the host, got ",
              tensor.sizes(), " with strides ", tensor.strides(), " on ", tensor.device());
  const int64_t all = static_cast<int64_t>(tensor.nbytes());
  TORCH_CHECK(bytes > 0 && offset >= 0 && offset <= all - bytes, "bytes ", offset, " to ", offset + bytes,
              " are not in a tensor of ", all, " bytes");
  TORCH_CHECK(tensor.storage().data() != nullptr, "a tensor whose memory was released has no bytes");
  if (direction == Direction::read) demand_writable(tensor);
  return static_cast<char*>(tensor.data_ptr()) + offset;
}

// (queue, file, writes, file offset, tensor, memory offset, bytes)
napi_value start_transfer(napi_env env, napi_callback_info info) {
  return guarded(env, "startTransfer", [&] {
    const Arguments arguments(env, info);
    TransferQueue& queue = queue_of(env, arguments.value(0));
    const FileHolder& file = object_of<FileHolder>(env, arguments.value(1));
    if (!file) throw CodedError("OFFLOAD_FAILED", "The file was closed.");
    const Direction direction = arguments.boolean(2) ? Direction::write : Direction::read;
    const at::Tensor& tensor = arguments.tensor(4);
    const int64_t bytes = arguments.integer(6);
    char* data = place_in(tensor, arguments.integer(5), bytes, direction);
    const auto transfer =
        std::make_shared<Transfer>(file, direction, arguments.integer(3), data, bytes, tensor.storage());
    queue.start(transfer);
    return object_value(env, TransferHolder(transfer));
  });
}

// (transfer): the error number, 0 for none, and the offset in the file where it failed.
napi_value wait_transfer(napi_env env, napi_callback_info info) {
  return guarded(env, "waitTransfer", [&] {
    const Arguments arguments(env, info);
    const TransferFailure failure = object_of<TransferHolder>(env, arguments.value(0))->wait();
    return integers_value(env, {failure.error, failure.offset});
  });
}

// Transfers under way keep the file open until they end.
napi_value close_transfer_file(napi_env env, napi_callback_info info) {
  return guarded(env, "closeTransferFile", [&] {
    const Arguments arguments(env, info);
    object_of<FileHolder>(env, arguments.value(0)).reset();
    return undefined_value(env);
  });
}

napi_value aligned_tensor(napi_env env, napi_callback_info info) {
  return guarded(env, "alignedTensor", [&] {
    const Arguments arguments(env, info);
    const auto dtype = static_cast<at::ScalarType>(arguments.integer(1));
    return tensor_value(arguments.environment(), aligned_zeros(arguments.integers(0), dtype));
  });
}

}  // namespace

void export_file_io(napi_env env, napi_value exports) {
  export_function(env, exports, "createFileQueue", create_file_queue);
  export_function(env, exports, "closeFileQueue", close_file_queue);
  export_function(env, exports, "reserveFile", reserve_file);
  export_function(env, exports, "directAlignment", direct_alignment);
  export_function(env, exports, "openTransferFile", open_transfer_file);
  export_function(env, exports, "closeTransferFile", close_transfer_file);
  export_function(env, exports, "startTransfer", start_transfer);
  export_function(env, exports, "waitTransfer", wait_transfer);
  export_function(env, exports, "alignedTensor", aligned_tensor);
}

}  // namespace trainyard
