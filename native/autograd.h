#pragma once
// libtorch's autograd with hooks and backward functions written in TypeScript.

#include <ATen/core/Tensor.h>
#include <node_api.h>

#include <unordered_map>

#include "javascript-thread.h"

namespace trainyard {

// The hooks that TypeScript registered, and the thread they run on.
class HookTable {
 public:
  struct Hook {
    napi_ref callback;
    unsigned position;
  };

  JavaScriptThread thread;

  int64_t add(Hook hook) {
    hooks_.emplace(++last_, hook);
    return last_;
  }
  // The hook is forgotten; its callback must be released by the caller.
  Hook take(int64_t identifier) {
    const auto found = hooks_.find(identifier);
    if (found == hooks_.end()) return {nullptr, 0};
    const Hook hook = found->second;
    hooks_.erase(found);
    return hook;
  }

 private:
  std::unordered_map<int64_t, Hook> hooks_;
  int64_t last_ = 0;
};

void export_autograd(napi_env env, napi_value exports);

}  // namespace trainyard
