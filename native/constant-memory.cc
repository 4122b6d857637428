#include "constant-memory.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <memory>
#include <stdexcept>
#include <system_error>

#include "args.h"
#include "memory-count.h"
#include "native-object.h"
#include "shared-memory/anonymous-file.h"

namespace trainyard {
namespace {

[[noreturn]] void refuse(const std::string& what, const std::error_code& reason) {
  throw CodedError("DATA_UNREADABLE", what + ": " + reason.message() + ".");
}

// Pages of a file, shared with every process that maps it. Lives as long as a tensor over it.
struct Mapping {
  Mapping(std::shared_ptr<OpenFile> file, size_t length, Access access) : file(std::move(file)), length(length) {
    if (length > 0) address = static_cast<char*>(map_shared(*this->file, length, access));
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

  const std::shared_ptr<OpenFile> file;
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

// Whole pages of an open file that nobody writes.
napi_value sealed_memory(napi_env env, OpenFile file, size_t length, int64_t tensor_bytes) {
  auto mapping = std::make_shared<Mapping>(std::make_shared<OpenFile>(std::move(file)), length, Access::read);
  mapping->count(tensor_bytes);
  return object_value(env, ConstantMemory{std::move(mapping), true});
}

// (path, bytes of tensors to count) -> memory.
napi_value map_constants(napi_env env, napi_callback_info info) {
  return guarded(env, "mapConstants", [&] {
    const Arguments arguments(env, info);
    const std::string path = arguments.string(0);
    OpenFile file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status;
    if (file.descriptor() < 0 || fstat(file.descriptor(), &status) != 0) {
      refuse("Cannot map " + path, {errno, std::generic_category()});
    }
    if (!S_ISREG(status.st_mode)) throw CodedError("DATA_UNREADABLE", "Cannot map " + path + ": it is no regular file.");
    try {
      return sealed_memory(env, std::move(file), static_cast<size_t>(status.st_size), arguments.integer(1));
    } catch (const std::system_error& error) {
      refuse("Cannot map " + path, error.code());
    }
  });
}

// (address, bytes of tensors to count) -> the memory that another process has filled and sealed.
napi_value open_constants(napi_env env, napi_callback_info info) {
  return guarded(env, "openConstants", [&] {
    const Arguments arguments(env, info);
    const std::string text = arguments.string(0);
    try {
      const FileAddress address = FileAddress::parse(text);
      return sealed_memory(env, open_anonymous_file(address, Access::read), address.bytes, arguments.integer(1));
    } catch (const std::invalid_argument& error) {
      throw CodedError("DATA_UNREADABLE", error.what());
    } catch (const std::system_error& error) {
      refuse("Cannot map the shared memory " + text, error.code());
    }
  });
}

// (bytes) -> memory of zeros to be filled and then sealed.
napi_value create_constants(napi_env env, napi_callback_info info) {
  return guarded(env, "createConstants", [&] {
    const Arguments arguments(env, info);
    const auto length = static_cast<size_t>(arguments.integer(0));
    try {
      auto file = std::make_shared<OpenFile>(create_anonymous_file("trainyard-constants", length));
      return object_value(env, ConstantMemory{std::make_shared<Mapping>(std::move(file), length, Access::write), false});
    } catch (const std::system_error& error) {
      refuse("Cannot make shared memory", error.code());
    }
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
    const std::shared_ptr<OpenFile> file = memory.mapping->file;
    const size_t length = memory.mapping->length;
    memory.mapping.reset();
    if (fcntl(file->descriptor(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
      refuse("Cannot seal shared memory", {errno, std::generic_category()});
    }
    memory.mapping = std::make_shared<Mapping>(file, length, Access::read);
    memory.mapping->count(arguments.integer(1));
    memory.is_sealed = true;
    return undefined_value(env);
  });
}

// (memory) -> the address by which other processes of this host open it.
napi_value constants_address(napi_env env, napi_callback_info info) {
  return guarded(env, "constantsAddress", [&] {
    const Arguments arguments(env, info);
    return string_value(env, address_of(*open_memory(arguments).mapping->file).text());
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
  export_function(env, exports, "openConstants", open_constants);
  export_function(env, exports, "createConstants", create_constants);
  export_function(env, exports, "sealConstants", seal_constants);
  export_function(env, exports, "constantsAddress", constants_address);
  export_function(env, exports, "constantTensor", constant_tensor);
  export_function(env, exports, "closeConstants", close_constants);
}

}  // namespace trainyard
