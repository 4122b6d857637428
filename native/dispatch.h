#pragma once
// Every ATen operator through one door: look it up by schema once, call it boxed with a stack of values
// converted by the schema's types.

#include <ATen/core/dispatch/Dispatcher.h>
#include <node_api.h>

#include <deque>
#include <string>
#include <unordered_map>
#include <vector>

#include "convert.h"

namespace trainyard {

struct Operator {
  c10::OperatorHandle handle;
  std::vector<Parameter> parameters;
  // In-place and out= operators return their own argument; no new handle is made for it.
  bool returns_argument;
  // The arguments that it writes.
  std::vector<size_t> written;
};

class OperatorTable {
 public:
  // The index of the operator, found or added.
  size_t find(const std::string& name, const std::string& overload);
  Operator& at(size_t index);

  // A stack for one call; operators may call back into TypeScript and so into operators again.
  torch::jit::Stack borrow_stack();
  void return_stack(torch::jit::Stack stack);

 private:
  // A deque: a running call keeps a pointer while nested calls may add operators.
  std::deque<Operator> operators_;
  std::unordered_map<std::string, size_t> index_;
  std::vector<torch::jit::Stack> spare_stacks_;
};

void export_dispatch(napi_env env, napi_value exports);

}  // namespace trainyard
