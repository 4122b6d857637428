#pragma once
// The state of one Node environment: every native object hangs from here, so that worker threads may load the
// add-on without sharing anything.

#include <node_api.h>

#include <memory>
#include <mutex>
#include <vector>

#include "tensor-table.h"

namespace trainyard {

class JavaScriptThread;
class OperatorTable;

// References to JavaScript values that native objects held. They may only be deleted on the JavaScript thread, but
// tensors and graphs die anywhere, some after their environment: each holder keeps the graveyard.
class Graveyard {
 public:
  void bury(napi_ref reference);
  // Deletes what was buried. Call on the JavaScript thread.
  void collect(napi_env env);
  // The environment goes, and its references with it.
  void close();

 private:
  std::mutex mutex_;
  std::vector<napi_ref> buried_;
  bool open_ = true;
};

struct Environment {
  explicit Environment(napi_env env);
  ~Environment();

  napi_env env;
  TensorTable tensors;
  std::unique_ptr<OperatorTable> operators;
  // Where hooks and backward functions written in TypeScript run.
  std::unique_ptr<JavaScriptThread> javascript_thread;
  bool debug = false;

  // Makes the error object: (code, what, where, got, stack) -> Error. Set once by src/native/load.ts.
  napi_ref error_factory = nullptr;
  // The exception that a TypeScript hook threw inside libtorch's backward, until backward returns.
  napi_ref pending_exception = nullptr;

  static Environment& of(napi_env env);

  const std::shared_ptr<Graveyard> graveyard = std::make_shared<Graveyard>();
};

}  // namespace trainyard
