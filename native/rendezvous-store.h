#pragma once
// c10d's TCPStore: the keys and values by which the ranks of a job find each other.

#include <node_api.h>

#include <torch/csrc/distributed/c10d/Store.hpp>

namespace trainyard {

// The store behind a value made by `createStore`. Throws once it was closed.
c10::intrusive_ptr<c10d::Store> store_of(napi_env env, napi_value value);

void export_rendezvous_store(napi_env env, napi_value exports);

}  // namespace trainyard
