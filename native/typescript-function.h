#pragma once
// An autograd node whose backward is a TypeScript function.

#include <node_api.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <vector>

namespace trainyard {

struct Environment;

class TypeScriptFunction : public torch::autograd::Node {
 public:
  TypeScriptFunction(Environment& environment, napi_ref backward) : environment_(environment), backward_(backward) {}
  ~TypeScriptFunction() override;

  // Keeps a tensor for backward; an output of this node is kept without a reference cycle.
  void save(const at::Tensor& tensor, bool is_output) { saved_.emplace_back(tensor, is_output); }

  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override;
  void release_variables() override { saved_.clear(); }
  std::string name() const override { return "TypeScriptFunction"; }

 private:
  torch::autograd::variable_list call_backward(const torch::autograd::variable_list& gradients);

  Environment& environment_;
  napi_ref backward_;
  std::vector<torch::autograd::SavedVariable> saved_;
};

// Calls a TypeScript function with an array per list of tensors and reads handles back. A thrown exception is
// kept in the environment and travels on as JavaScriptException.
std::vector<at::Tensor> call_with_tensors(Environment& environment, napi_ref callback,
                                          const std::vector<std::vector<at::Tensor>>& lists);

}  // namespace trainyard
