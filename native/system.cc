#include "system.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <torch/version.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#ifdef __linux__
#include <sys/prctl.h>

#include <csignal>
#endif
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "args.h"

namespace trainyard {
namespace {

at::Generator generator_of(const std::string& device) {
  return at::globalContext().defaultGenerator(c10::Device(device));
}

napi_value manual_seed(napi_env env, napi_callback_info info) {
  return guarded(env, "manualSeed", [&] {
    const Arguments arguments(env, info);
    uint64_t seed;
    bool lossless;
    if (napi_get_value_bigint_uint64(env, arguments.value(0), &seed, &lossless) != napi_ok) {
      throw CodedError("TENSOR_OPERATOR", "The seed must be a bigint.");
    }
    at::manual_seed(seed);
    return undefined_value(env);
  });
}

napi_value random_state(napi_env env, napi_callback_info info) {
  return guarded(env, "randomState", [&] {
    const Arguments arguments(env, info);
    at::Generator generator = generator_of(arguments.string(0));
    std::lock_guard<std::mutex> lock(generator.mutex());
    const at::Tensor state = generator.get_state();
    void* data;
    napi_value buffer, result;
    napi_create_arraybuffer(env, state.nbytes(), &data, &buffer);
    std::memcpy(data, state.data_ptr(), state.nbytes());
    napi_create_typedarray(env, napi_uint8_array, state.nbytes(), buffer, 0, &result);
    return result;
  });
}

napi_value set_random_state(napi_env env, napi_callback_info info) {
  return guarded(env, "setRandomState", [&] {
    const Arguments arguments(env, info);
    at::Generator generator = generator_of(arguments.string(0));
    const Arguments::Bytes bytes = arguments.bytes(1);
    at::Tensor state = at::empty({static_cast<int64_t>(bytes.length)}, at::kByte);
    std::memcpy(state.data_ptr(), bytes.data, bytes.length);
    std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_state(state);
    return undefined_value(env);
  });
}

napi_value libtorch_version(napi_env env, napi_callback_info) { return string_value(env, TORCH_VERSION); }

napi_value set_threads(napi_env env, napi_callback_info info) {
  return guarded(env, "setThreads", [&] {
    const Arguments arguments(env, info);
    at::set_num_threads(static_cast<int>(arguments.integer(0)));
    return undefined_value(env);
  });
}

napi_value threads(napi_env env, napi_callback_info) { return number_value(env, at::get_num_threads()); }

napi_value cuda_device_count(napi_env env, napi_callback_info) {
  return guarded(env, "cudaDeviceCount", [&] {
    if (!at::hasCUDA()) return number_value(env, 0);
    return number_value(env, static_cast<double>(at::detail::getCUDAHooks().deviceCount()));
  });
}

napi_value set_debug(napi_env env, napi_callback_info info) {
  return guarded(env, "setDebug", [&] {
    const Arguments arguments(env, info);
    arguments.environment().debug = arguments.boolean(0);
    return undefined_value(env);
  });
}

napi_value set_error_factory(napi_env env, napi_callback_info info) {
  return guarded(env, "setErrorFactory", [&] {
    const Arguments arguments(env, info);
    arguments.environment().error_factory = arguments.function(0);
    return undefined_value(env);
  });
}

napi_value die_with_parent(napi_env env, napi_callback_info) {
#ifdef __linux__
  return boolean_value(env, prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
#else
  return boolean_value(env, false);
#endif
}

// Leaves without destructors: Gloo's threads sometimes abort the process in theirs.
napi_value exit_now(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  _exit(static_cast<int>(arguments.integer(0)));
}

struct Mapping {
  void* address;
  size_t length;
};

void unmap(napi_env, void*, void* hint) {
  Mapping* mapping = static_cast<Mapping*>(hint);
  munmap(mapping->address, mapping->length);
  delete mapping;
}

[[noreturn]] void refuse_file(const std::string& path) {
  throw CodedError("DATA_UNREADABLE", "Cannot map " + path + ": " + std::strerror(errno) + ".");
}

napi_value map_file(napi_env env, napi_callback_info info) {
  return guarded(env, "mapFile", [&] {
    const Arguments arguments(env, info);
    const std::string path = arguments.string(0);
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) refuse_file(path);
    struct stat status;
    if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) {
      close(file);
      throw CodedError("DATA_UNREADABLE", "Cannot map " + path + ": it is not a regular file.");
    }
    napi_value result;
    const size_t length = static_cast<size_t>(status.st_size);
    if (length == 0) {
      close(file);
      void* data;
      napi_create_arraybuffer(env, 0, &data, &result);
      return result;
    }
    // Private and writable: JavaScript cannot be kept from writing, so writes stay in this process.
    void* address = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file, 0);
    close(file);
    if (address == MAP_FAILED) refuse_file(path);
    napi_create_external_arraybuffer(env, address, length, unmap, new Mapping{address, length}, &result);
    return result;
  });
}

}  // namespace

void prepare_process() {
#ifdef __GLIBC__
  // A step frees and takes the same large blocks again and again. By default glibc gives each back to the
  // kernel and faults its pages in anew, which costs about a tenth of a step.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, -1);
#endif
}

void export_system(napi_env env, napi_value exports) {
  export_function(env, exports, "manualSeed", manual_seed);
  export_function(env, exports, "randomState", random_state);
  export_function(env, exports, "setRandomState", set_random_state);
  export_function(env, exports, "libtorchVersion", libtorch_version);
  export_function(env, exports, "setThreads", set_threads);
  export_function(env, exports, "threads", threads);
  export_function(env, exports, "cudaDeviceCount", cuda_device_count);
  export_function(env, exports, "setDebug", set_debug);
  export_function(env, exports, "setErrorFactory", set_error_factory);
  export_function(env, exports, "dieWithParent", die_with_parent);
  export_function(env, exports, "exitNow", exit_now);
  export_function(env, exports, "mapFile", map_file);
}

}  // namespace trainyard
