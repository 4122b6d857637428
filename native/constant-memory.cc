#include "constant-memory.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "args.h"
#include "memory-count.h"
#include "native-object.h"

namespace trainyard {
namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw CodedError("DATA_UNREADABLE", what + ": " + std::strerror(errno) + ".");
}

struct File {
  explicit File(int descriptor) : descriptor(descriptor) {}
  File(const File&) = delete;
  ~File() {
    if (descriptor >= 0) close(descriptor);
  }
  const int descriptor;
};

// Pages of a file, shared with every process that maps it. Lives as long as a tensor over it.
struct Mapping {
  Mapping(std::shared_ptr<File> file, size_t length, int protection) : file(std::move(file)), length(length) {
    if (length == 0) return;
    void* mapped = mmap(nullptr, length, protection, MAP_SHARED, this->file->descriptor, 0);
    if (mapped == MAP_FAILED) refuse("Cannot map constant memory");
    address = static_cast<char*>(mapped);
  }
  Mapping(const Mapping&) = delete;
  ~Mapping() {
    count_bytes(-counted);
    if (address != nullptr) munmap(address, length);
  }
  void count(int64_t bytes) {
    counted += bytes;
    count_bytes(bytes);
  }

  const std::shared_ptr<File> file;
  const size_t length;
  char* address = nullptr;
  int64_t counted = 0;
};

// What JavaScript holds: the mapping, or nothing once it was closed, and whether it can still be written.
struct ConstantMemory {
  std::shared_ptr<Mapping> mapping;
  bool is_sealed;
};

// What a tensor's storage holds. Its deleter is how such a storage is told from others.
struct Reference {
  std::shared_ptr<Mapping> mapping;
  bool is_constant;
};

void drop(void* reference) { delete static_cast<Reference*>(reference); }

ConstantMemory& open_memory(const Arguments& arguments) {
  ConstantMemory& memory = object_of<ConstantMemory>(arguments.env(), arguments.value(0));
  if (!memory.mapping) throw CodedError("TENSOR_FREED", "Constant memory was used after it was closed.");
  return memory;
}

// (path, bytes of tensors to count) -> memory. The path may be that of another process's shared memory.
napi_value map_constants(napi_env env, napi_callback_info info) {
  return guarded(env, "mapConstants", [&] {
    const Arguments arguments(env, info);
    const std::string path = arguments.string(0);
    const auto file = std::make_shared<File>(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status;
    if (file->descriptor < 0 || fstat(file->descriptor, &status) != 0) refuse("Cannot map " + path);
    if (!S_ISREG(status.st_mode)) throw CodedError("DATA_UNREADABLE", "Cannot map " + path + ": it is no regular file.");
    auto mapping = std::make_shared<Mapping>(file, static_cast<size_t>(status.st_size), PROT_READ);
    mapping->count(arguments.integer(1));
    return object_value(env, ConstantMemory{std::move(mapping), true});
  });
}

// (bytes) -> memory of zeros to be filled and then sealed. No name leads to it: it goes with its last process.
napi_value create_constants(napi_env env, napi_callback_info info) {
  return guarded(env, "createConstants", [&] {
    const Arguments arguments(env, info);
    const int64_t length = arguments.integer(0);
#ifdef __linux__
    const auto file = std::make_shared<File>(memfd_create("trainyard-constants", MFD_CLOEXEC | MFD_ALLOW_SEALING));
#else
    // No other process can find it, and it has no name from the next line on: the place only has to exist everywhere.
    char path[] = "/tmp/trainyard-constants-XXXXXX";
    const auto file = std::make_shared<File>(mkstemp(path));
    if (file->descriptor >= 0) unlink(path);
#endif
    if (file->descriptor < 0 || ftruncate(file->descriptor, length) != 0) refuse("Cannot make shared memory");
    auto mapping = std::make_shared<Mapping>(file, static_cast<size_t>(length), PROT_READ | PROT_WRITE);
    return object_value(env, ConstantMemory{std::move(mapping), false});
  });
}

// (memory, bytes of tensors to count): from here on nobody can write it, whoever opens it.
napi_value seal_constants(napi_env env, napi_callback_info info) {
  return guarded(env, "sealConstants", [&] {
    const Arguments arguments(env, info);
    ConstantMemory& memory = open_memory(arguments);
    if (memory.mapping.use_count() > 1) {
      throw CodedError("TENSOR_CONSTANT", "Constant memory was sealed while a tensor could still write it.");
    }
    const std::shared_ptr<File> file = memory.mapping->file;
    const size_t length = memory.mapping->length;
    memory.mapping.reset();
#ifdef __linux__
    if (fcntl(file->descriptor, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
      refuse("Cannot seal shared memory");
    }
#endif
    memory.mapping = std::make_shared<Mapping>(file, length, PROT_READ);
    memory.mapping->count(arguments.integer(1));
    memory.is_sealed = true;
    return undefined_value(env);
  });
}

// (memory) -> the descriptor by which this process has it open.
napi_value constants_descriptor(napi_env env, napi_callback_info info) {
  return guarded(env, "constantsDescriptor", [&] {
    const Arguments arguments(env, info);
    return number_value(env, open_memory(arguments).mapping->file->descriptor);
  });
}

// (memory, byte offset, shape, dtype) -> a tensor over it.
napi_value constant_tensor(napi_env env, napi_callback_info info) {
  return guarded(env, "constantTensor", [&] {
    const Arguments arguments(env, info);
    const ConstantMemory& memory = open_memory(arguments);
    const int64_t offset = arguments.integer(1);
    const std::vector<int64_t> shape = arguments.integers(2);
    const auto dtype = static_cast<at::ScalarType>(arguments.integer(3));
    const auto options = at::TensorOptions().dtype(dtype);
    const int64_t bytes = c10::multiply_integers(shape) * static_cast<int64_t>(c10::elementSize(dtype));
    if (offset < 0 || bytes < 0 || static_cast<size_t>(offset + bytes) > memory.mapping->length) {
      throw CodedError("TENSOR_OPERATOR", "The tensor lies outside of the constant memory.");
    }
    c10::DataPtr data(memory.mapping->address + offset, new Reference{memory.mapping, memory.is_sealed}, &drop,
                      c10::Device(c10::DeviceType::CPU));
    c10::Storage storage(c10::Storage::use_byte_size_t(), static_cast<size_t>(bytes), std::move(data),
                         /*allocator=*/nullptr, /*resizable=*/false);
    at::Tensor tensor = at::empty({0}, options).set_(std::move(storage), 0, shape);
    return tensor_value(arguments.environment(), std::move(tensor));
  });
}

// Lets go of the memory; it is unmapped with its last tensor.
napi_value close_constants(napi_env env, napi_callback_info info) {
  return guarded(env, "closeConstants", [&] {
    const Arguments arguments(env, info);
    object_of<ConstantMemory>(env, arguments.value(0)).mapping.reset();
    return undefined_value(env);
  });
}

}  // namespace

void demand_writable(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.has_storage()) return;
  const c10::DataPtr& data = tensor.storage().data_ptr();
  if (data.get_deleter() != &drop || !static_cast<const Reference*>(data.get_context())->is_constant) return;
  throw CodedError("TENSOR_CONSTANT",
                   "A constant tensor cannot be written: all ranks of this host share its memory.");
}

void export_constant_memory(napi_env env, napi_value exports) {
  export_function(env, exports, "mapConstants", map_constants);
  export_function(env, exports, "createConstants", create_constants);
  export_function(env, exports, "sealConstants", seal_constants);
  export_function(env, exports, "constantsDescriptor", constants_descriptor);
  export_function(env, exports, "constantTensor", constant_tensor);
  export_function(env, exports, "closeConstants", close_constants);
}

}  // namespace trainyard
