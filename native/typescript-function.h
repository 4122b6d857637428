#pragma once
// An autograd node whose backward is a TypeScript function.

#include <node_api.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <memory>
#include <vector>

#include "environment.h"

namespace trainyard {

// A TypeScript function held from native code. Its reference is released with the last holder, on whichever thread
// that dies, or before that.
class Callback {
 public:
  Callback(const Environment& environment, napi_ref function)
      : graveyard_(environment.graveyard), function_(function) {}
  Callback(const Callback&) = delete;
  ~Callback() { release(); }

  // Null once released. Ask on the JavaScript thread.
  napi_ref function() const { return function_; }

  void release() {
    if (function_ != nullptr) graveyard_->bury(function_);
    function_ = nullptr;
  }

 private:
  std::shared_ptr<Graveyard> graveyard_;
  napi_ref function_;
};

class TypeScriptFunction : public torch::autograd::Node {
 public:
  TypeScriptFunction(Environment& environment, std::shared_ptr<Callback> backward)
      : environment_(environment), backward_(std::move(backward)) {}

  // Keeps a tensor for backward; an output of this node is kept without a reference cycle.
  void save(const at::Tensor& tensor, bool is_output) { saved_.emplace_back(tensor, is_output); }

  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override;
  void release_variables() override { saved_.clear(); }
  std::string name() const override { return "TypeScriptFunction"; }

 private:
  torch::autograd::variable_list call_backward(const torch::autograd::variable_list& gradients);

  Environment& environment_;
  std::shared_ptr<Callback> backward_;
  std::vector<torch::autograd::SavedVariable> saved_;
};

// Calls a TypeScript function with an array per list of tensors and reads handles back. A thrown exception is
// kept in the environment and travels on as JavaScriptException.
std::vector<at::Tensor> call_with_tensors(Environment& environment, napi_ref callback,
                                          const std::vector<std::vector<at::Tensor>>& lists);

}  // namespace trainyard
