#include "tensor-memory.h"

#include <ATen/ATen.h>

#include <cstring>
#include <sstream>

#include "args.h"

namespace trainyard {
namespace {

at::ScalarType dtype_of_code(int64_t code) {
  if (code < 0 || code >= static_cast<int64_t>(at::ScalarType::NumOptions)) {
    throw CodedError("TENSOR_OPERATOR", "There is no dtype " + std::to_string(code) + ".");
  }
  return static_cast<at::ScalarType>(code);
}

int64_t byte_length(const std::vector<int64_t>& shape, at::ScalarType dtype) {
  int64_t bytes = static_cast<int64_t>(c10::elementSize(dtype));
  bool fits = true;
  for (int64_t size : shape) fits = fits && size >= 0 && !__builtin_mul_overflow(bytes, size, &bytes);
  if (fits) return bytes;
  std::ostringstream text;
  text << "A shape has sizes from 0 on, and bytes that can be counted, got " << c10::IntArrayRef(shape) << ".";
  throw CodedError("TENSOR_OPERATOR", text.str());
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
    const at::ScalarType dtype = dtype_of_code(arguments.integer(2));
    check_length(bytes.length, byte_length(shape, dtype));
    at::Tensor tensor = at::empty(shape, dtype);
    if (bytes.length > 0) std::memcpy(tensor.data_ptr(), bytes.data, bytes.length);
    return tensor_value(arguments.environment(), std::move(tensor));
  });
}

napi_value from_external(napi_env env, napi_callback_info info) {
  return guarded(env, "fromExternal", [&] {
    const Arguments arguments(env, info);
    const Arguments::Bytes bytes = arguments.bytes(0);
    const std::vector<int64_t> shape = arguments.integers(1);
    const at::ScalarType dtype = dtype_of_code(arguments.integer(2));
    check_length(bytes.length, byte_length(shape, dtype));
    if (reinterpret_cast<uintptr_t>(bytes.data) % c10::elementSize(dtype) != 0) {
      throw CodedError("TENSOR_OPERATOR", "The bytes do not begin where an element may.");
    }
    napi_ref reference;
    napi_create_reference(env, bytes.buffer, 1, &reference);
    const auto graveyard = arguments.environment().graveyard;
    at::Tensor tensor = at::from_blob(
        bytes.data, shape, [graveyard, reference](void*) { graveyard->bury(reference); },
        at::TensorOptions().dtype(dtype));
    return tensor_value(arguments.environment(), std::move(tensor));
  });
}

napi_value copy_to_bytes(napi_env env, napi_callback_info info) {
  return guarded(env, "copyToBytes", [&] {
    const Arguments arguments(env, info);
    const at::Tensor host = arguments.tensor(0).detach().to(at::kCPU).contiguous();
    const Arguments::Bytes target = arguments.bytes(1);
    check_length(target.length, static_cast<int64_t>(host.nbytes()));
    if (target.length > 0) std::memcpy(target.data, host.data_ptr(), target.length);
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
    arguments.environment().tensors.free(arguments.handle(0));
    arguments.environment().graveyard->collect(env);
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
    const napi_status status =
        napi_get_typedarray_info(env, arguments.value(0), &type, &length, &data, &buffer, &offset);
    const size_t count = static_cast<size_t>(arguments.integer(1));
    if (status != napi_ok || type != napi_int32_array || count > length) {
      throw CodedError("TENSOR_OPERATOR", "freeMany takes an Int32Array and a count within it.");
    }
    const Handle* handles = static_cast<const Handle*>(data);
    for (size_t i = 0; i < count; ++i) arguments.environment().tensors.free(handles[i]);
    arguments.environment().graveyard->collect(env);
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
