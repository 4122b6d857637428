#include "tensor-memory.h"

#include <ATen/ATen.h>

#include <cstring>

#include "args.h"

namespace trainyard {
namespace {

int64_t byte_length(const std::vector<int64_t>& shape, at::ScalarType dtype) {
  int64_t elements = 1;
  for (int64_t size : shape) elements *= size;
  return elements * static_cast<int64_t>(c10::elementSize(dtype));
}

void check_length(size_t given, int64_t needed) {
  if (static_cast<int64_t>(given) == needed) return;
  throw CodedError("TENSOR_OPERATOR", "The buffer has " + std::to_string(given) + " bytes, the tensor needs " +
                                          std::to_string(needed) + ".");
}

napi_value from_bytes(napi_env env, napi_callback_info info) {
  return guarded(env, "fromBytes", [&] {
    const Arguments arguments(env, info);
    const Arguments::Bytes bytes = arguments.bytes(0);
    const std::vector<int64_t> shape = arguments.integers(1);
    const auto dtype = static_cast<at::ScalarType>(arguments.integer(2));
    check_length(bytes.length, byte_length(shape, dtype));
    at::Tensor tensor = at::empty(shape, dtype);
    std::memcpy(tensor.data_ptr(), bytes.data, bytes.length);
    return tensor_value(arguments.environment(), std::move(tensor));
  });
}

napi_value from_external(napi_env env, napi_callback_info info) {
  return guarded(env, "fromExternal", [&] {
    const Arguments arguments(env, info);
    const Arguments::Bytes bytes = arguments.bytes(0);
    const std::vector<int64_t> shape = arguments.integers(1);
    const auto dtype = static_cast<at::ScalarType>(arguments.integer(2));
    check_length(bytes.length, byte_length(shape, dtype));
    Environment& environment = arguments.environment();
    napi_ref reference;
    napi_create_reference(env, bytes.buffer, 1, &reference);
    at::Tensor tensor = at::from_blob(
        bytes.data, shape, [&environment, reference](void*) { environment.bury(reference); },
        at::TensorOptions().dtype(dtype));
    return tensor_value(environment, std::move(tensor));
  });
}

napi_value copy_to_bytes(napi_env env, napi_callback_info info) {
  return guarded(env, "copyToBytes", [&] {
    const Arguments arguments(env, info);
    const at::Tensor host = arguments.tensor(0).detach().to(at::kCPU).contiguous();
    const Arguments::Bytes target = arguments.bytes(1);
    check_length(target.length, static_cast<int64_t>(host.nbytes()));
    std::memcpy(target.data, host.data_ptr(), target.length);
    return undefined_value(env);
  });
}

napi_value shape_of(napi_env env, napi_callback_info info) {
  return guarded(env, "shapeOf", [&] {
    const Arguments arguments(env, info);
    return integers_value(env, arguments.tensor(0).sizes());
  });
}

napi_value strides_of(napi_env env, napi_callback_info info) {
  return guarded(env, "stridesOf", [&] {
    const Arguments arguments(env, info);
    return integers_value(env, arguments.tensor(0).strides());
  });
}

napi_value dtype_of(napi_env env, napi_callback_info info) {
  return guarded(env, "dtypeOf", [&] {
    const Arguments arguments(env, info);
    return number_value(env, static_cast<int>(arguments.tensor(0).scalar_type()));
  });
}

napi_value device_of(napi_env env, napi_callback_info info) {
  return guarded(env, "deviceOf", [&] {
    const Arguments arguments(env, info);
    return string_value(env, arguments.tensor(0).device().str());
  });
}

napi_value item_of(napi_env env, napi_callback_info info) {
  return guarded(env, "itemOf", [&] {
    const Arguments arguments(env, info);
    return number_value(env, arguments.tensor(0).item().toDouble());
  });
}

napi_value address_of(napi_env env, napi_callback_info info) {
  return guarded(env, "addressOf", [&] {
    const Arguments arguments(env, info);
    napi_value result;
    napi_create_bigint_uint64(env, reinterpret_cast<uint64_t>(arguments.tensor(0).data_ptr()), &result);
    return result;
  });
}

napi_value free_tensor(napi_env env, napi_callback_info info) {
  return guarded(env, "free", [&] {
    const Arguments arguments(env, info);
    arguments.environment().tensors.free(static_cast<Handle>(arguments.integer(0)));
    arguments.environment().collect_buried();
    return undefined_value(env);
  });
}

napi_value free_many(napi_env env, napi_callback_info info) {
  return guarded(env, "freeMany", [&] {
    const Arguments arguments(env, info);
    napi_typedarray_type type;
    size_t length, offset;
    void* data;
    napi_value buffer;
    napi_get_typedarray_info(env, arguments.value(0), &type, &length, &data, &buffer, &offset);
    const size_t count = static_cast<size_t>(arguments.integer(1));
    if (type != napi_int32_array || count > length) {
      throw CodedError("TENSOR_OPERATOR", "freeMany takes an Int32Array and a count within it.");
    }
    const Handle* handles = static_cast<const Handle*>(data);
    for (size_t i = 0; i < count; ++i) arguments.environment().tensors.free(handles[i]);
    arguments.environment().collect_buried();
    return undefined_value(env);
  });
}

napi_value live_handles(napi_env env, napi_callback_info) {
  return number_value(env, static_cast<double>(Environment::of(env).tensors.live()));
}

}  // namespace

void export_tensor_memory(napi_env env, napi_value exports) {
  export_function(env, exports, "fromBytes", from_bytes);
  export_function(env, exports, "fromExternal", from_external);
  export_function(env, exports, "copyToBytes", copy_to_bytes);
  export_function(env, exports, "shapeOf", shape_of);
  export_function(env, exports, "stridesOf", strides_of);
  export_function(env, exports, "dtypeOf", dtype_of);
  export_function(env, exports, "deviceOf", device_of);
  export_function(env, exports, "itemOf", item_of);
  export_function(env, exports, "addressOf", address_of);
  export_function(env, exports, "free", free_tensor);
  export_function(env, exports, "freeMany", free_many);
  export_function(env, exports, "liveHandles", live_handles);
}

}  // namespace trainyard
