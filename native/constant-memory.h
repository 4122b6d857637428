#pragma once
// Memory that is written once and then only read, by all processes of a host: files, and memory made to be shared.
// Its pages are protected, so that even a write that nobody checked cannot change it.

#include <ATen/core/Tensor.h>
#include <node_api.h>

namespace trainyard {
void export_constant_memory(napi_env env, napi_value exports);
// Throws CodedError TENSOR_CONSTANT for a tensor over constant memory, or a view of one.
void demand_writable(const at::Tensor& tensor);
}  // namespace trainyard
