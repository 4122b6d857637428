#include "typescript-function.h"

#include "args.h"
#include "javascript-thread.h"

namespace trainyard {
namespace {

// Node ends the process where a scope stays open, so that an exception must not pass one by.
class HandleScope {
 public:
  explicit HandleScope(napi_env env) : env_(env) { napi_open_handle_scope(env, &scope_); }
  HandleScope(const HandleScope&) = delete;
  ~HandleScope() { napi_close_handle_scope(env_, scope_); }

 private:
  napi_env env_;
  napi_handle_scope scope_;
};

napi_value handles_value(Environment& environment, const std::vector<at::Tensor>& tensors) {
  napi_value result;
  napi_create_array_with_length(environment.env, tensors.size(), &result);
  for (size_t i = 0; i < tensors.size(); ++i) {
    napi_set_element(environment.env, result, i, tensor_value(environment, tensors[i]));
  }
  return result;
}

// The handles a callback returns were made for us: they are freed here.
std::vector<at::Tensor> take_handles(Environment& environment, napi_value value) {
  std::vector<at::Tensor> tensors;
  uint32_t length = 0;
  napi_get_array_length(environment.env, value, &length);
  for (uint32_t i = 0; i < length; ++i) {
    napi_value element;
    napi_get_element(environment.env, value, i, &element);
    int32_t handle;
    if (napi_get_value_int32(environment.env, element, &handle) == napi_ok) {
      tensors.push_back(environment.tensors.get(handle));
      environment.tensors.free(handle);
    } else {
      tensors.emplace_back();
    }
  }
  return tensors;
}

void keep_exception(Environment& environment) {
  napi_value exception;
  napi_get_and_clear_last_exception(environment.env, &exception);
  if (!environment.pending_exception) {
    napi_create_reference(environment.env, exception, 1, &environment.pending_exception);
  }
}

}  // namespace

std::vector<at::Tensor> call_with_tensors(Environment& environment, napi_ref callback,
                                          const std::vector<std::vector<at::Tensor>>& lists) {
  napi_env env = environment.env;
  const HandleScope scope(env);
  std::vector<napi_value> arguments;
  for (const auto& list : lists) arguments.push_back(handles_value(environment, list));
  napi_value function, result;
  napi_get_reference_value(env, callback, &function);
  const napi_status status =
      napi_call_function(env, undefined_value(env), function, arguments.size(), arguments.data(), &result);
  if (status != napi_ok) {
    keep_exception(environment);
    throw JavaScriptException();
  }
  return take_handles(environment, result);
}

torch::autograd::variable_list TypeScriptFunction::call_backward(const torch::autograd::variable_list& gradients) {
  std::vector<at::Tensor> saved;
  const auto self = getptr();
  for (const auto& variable : saved_) saved.push_back(variable.unpack(self));
  return call_with_tensors(environment_, backward_->function(), {saved, gradients});
}

torch::autograd::variable_list TypeScriptFunction::apply(torch::autograd::variable_list&& gradients) {
  torch::autograd::variable_list results;
  environment_.javascript_thread->run([&] { results = call_backward(gradients); });
  if (results.size() != num_outputs()) {
    throw CodedError("TENSOR_OPERATOR", "A custom backward returned " + std::to_string(results.size()) +
                                            " gradients for " + std::to_string(num_outputs()) + " inputs.");
  }
  return results;
}

}  // namespace trainyard
