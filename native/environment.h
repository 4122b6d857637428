#pragma once
// The state of one Node environment: every native object hangs from here, so that worker threads may load the
// add-on without sharing anything.

#include <node_api.h>

#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "tensor-table.h"

namespace trainyard {

class OperatorTable;
class HookTable;

struct Environment {
  explicit Environment(napi_env env);
  ~Environment();

  napi_env env;
  std::thread::id javascript_thread;
  TensorTable tensors;
  std::unique_ptr<OperatorTable> operators;
  std::unique_ptr<HookTable> hooks;
  bool debug = false;

  // Makes the error object: (code, what, where, got, stack) -> Error. Set once by src/native/load.ts.
  napi_ref error_factory = nullptr;
  // The exception that a TypeScript hook threw inside libtorch's backward, until backward returns.
  napi_ref pending_exception = nullptr;

  static Environment& of(napi_env env);

  // A reference may only be deleted on the JavaScript thread, but tensors over JavaScript memory die anywhere.
  void bury(napi_ref reference);
  void collect_buried();

 private:
  std::mutex buried_mutex_;
  std::vector<napi_ref> buried_;
};

}  // namespace trainyard
