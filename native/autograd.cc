#include "autograd.h"

#include <c10/core/GradMode.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/variable.h>

#include "args.h"
#include "javascript-thread.h"
#include "kernels/deferred_products.h"
#include "native-object.h"
#include "typescript-function.h"

namespace trainyard {
namespace {

using torch::autograd::variable_list;

// libtorch counted its nodes with shared_ptr before it counted them with intrusive_ptr.
using NodePointer = decltype(torch::autograd::Edge::function);

template <typename Pointer>
auto make_node(Environment& environment, std::shared_ptr<Callback> backward) {
  if constexpr (std::is_same_v<Pointer, std::shared_ptr<torch::autograd::Node>>) {
    // Found by argument-dependent look-up, because newer libtorch does not declare it.
    return std::shared_ptr<TypeScriptFunction>(new TypeScriptFunction(environment, std::move(backward)),
                                               [](auto* node) { deleteNode(node); });
  } else {
    return c10::make_intrusive<TypeScriptFunction>(environment, std::move(backward));
  }
}

// CPU graphs run on this thread, where its OpenMP team lives; others need it free to serve hooks.
void run_backward(Environment& environment, const variable_list& outputs, const std::function<void()>& work) {
  bool on_cpu = true;
  for (const at::Tensor& output : outputs) on_cpu = on_cpu && output.is_cpu();
  if (on_cpu) {
    work();
  } else {
    const auto information = c10::ThreadLocalDebugInfo::current();
    environment.javascript_thread->serve_while([&] {
      const c10::DebugInfoGuard guard(information);
      work();
    });
  }
}

napi_value set_grad_enabled(napi_env env, napi_callback_info info) {
  return guarded(env, "setGradEnabled", [&] {
    const Arguments arguments(env, info);
    const bool before = c10::GradMode::is_enabled();
    c10::GradMode::set_enabled(arguments.boolean(0));
    return boolean_value(env, before);
  });
}

napi_value requires_grad(napi_env env, napi_callback_info info) {
  return guarded(env, "requiresGrad", [&] {
    const Arguments arguments(env, info);
    return boolean_value(env, arguments.tensor(0).requires_grad());
  });
}

napi_value set_requires_grad(napi_env env, napi_callback_info info) {
  return guarded(env, "setRequiresGrad", [&] {
    const Arguments arguments(env, info);
    arguments.tensor(0).set_requires_grad(arguments.boolean(1));
    return undefined_value(env);
  });
}

napi_value grad_of(napi_env env, napi_callback_info info) {
  return guarded(env, "gradOf", [&] {
    const Arguments arguments(env, info);
    const at::Tensor gradient = arguments.tensor(0).grad();
    return gradient.defined() ? tensor_value(arguments.environment(), gradient) : undefined_value(env);
  });
}

napi_value set_grad(napi_env env, napi_callback_info info) {
  return guarded(env, "setGrad", [&] {
    const Arguments arguments(env, info);
    arguments.tensor(0).mutable_grad() = arguments.is_absent(1) ? at::Tensor() : arguments.tensor(1);
    return undefined_value(env);
  });
}

napi_value backward(napi_env env, napi_callback_info info) {
  return guarded(env, "backward", [&] {
    const Arguments arguments(env, info);
    const variable_list outputs = arguments.tensors(0);
    const variable_list gradients = arguments.tensors(1);
    const bool retain_graph = arguments.boolean(2);
    run_backward(arguments.environment(), outputs,
                 [&] { torch::autograd::backward(outputs, gradients, retain_graph); });
    return undefined_value(env);
  });
}

napi_value gradients_of(napi_env env, napi_callback_info info) {
  return guarded(env, "gradients", [&] {
    const Arguments arguments(env, info);
    const variable_list outputs = arguments.tensors(0);
    const variable_list inputs = arguments.tensors(1);
    const variable_list gradients = arguments.tensors(2);
    const bool retain_graph = arguments.boolean(3);
    const bool allow_unused = arguments.boolean(4);
    variable_list results;
    run_backward(arguments.environment(), outputs, [&] {
      results = torch::autograd::grad(outputs, inputs, gradients, retain_graph, false, allow_unused);
    });
    napi_value list;
    napi_create_array_with_length(env, results.size(), &list);
    for (size_t i = 0; i < results.size(); ++i) {
      napi_set_element(env, list, i, tensor_value(arguments.environment(), results[i]));
    }
    return list;
  });
}

napi_value collect_products(napi_env env, napi_callback_info info) {
  return guarded(env, "collectProducts", [&]() -> napi_value {
    const Arguments arguments(env, info);
    const auto products = std::make_shared<DeferredProducts>();
    const CollectProducts collecting(products);
    napi_value nothing;
    const napi_status status =
        napi_call_function(env, undefined_value(env), arguments.value(0), 0, nullptr, &nothing);
    // What the function threw is on its way to the caller.
    return status == napi_ok ? object_value(env, products) : nullptr;
  });
}

napi_value add_products(napi_env env, napi_callback_info info) {
  return guarded(env, "addProducts", [&] {
    const Arguments arguments(env, info);
    object_of<std::shared_ptr<DeferredProducts>>(env, arguments.value(0))->add();
    return undefined_value(env);
  });
}

napi_value free_products(napi_env env, napi_callback_info info) {
  return guarded(env, "freeProducts", [&] {
    const Arguments arguments(env, info);
    object_of<std::shared_ptr<DeferredProducts>>(env, arguments.value(0))->clear();
    return undefined_value(env);
  });
}

napi_value add_hook(napi_env env, napi_callback_info info) {
  return guarded(env, "addHook", [&] {
    const Arguments arguments(env, info);
    Environment& environment = arguments.environment();
    at::Tensor& tensor = arguments.tensor(0);
    const auto callback = std::make_shared<Callback>(environment, arguments.function(1));
    tensor.register_hook([&environment, callback](const at::Tensor& gradient) -> at::Tensor {
      std::vector<at::Tensor> result;
      environment.javascript_thread->run([&] {
        if (callback->function() == nullptr) return;
        result = call_with_tensors(environment, callback->function(), {{gradient}});
      });
      return result.empty() || !result[0].defined() ? gradient : result[0];
    });
    // The tensor owns the hook: JavaScript only knows it while it is there.
    return object_value(env, std::weak_ptr<Callback>(callback));
  });
}

napi_value remove_hook(napi_env env, napi_callback_info info) {
  return guarded(env, "removeHook", [&] {
    const Arguments arguments(env, info);
    const auto callback = object_of<std::weak_ptr<Callback>>(env, arguments.value(0)).lock();
    if (callback) callback->release();
    arguments.environment().graveyard->collect(env);
    return undefined_value(env);
  });
}

napi_value custom_function(napi_env env, napi_callback_info info) {
  return guarded(env, "customFunction", [&] {
    const Arguments arguments(env, info);
    Environment& environment = arguments.environment();
    const variable_list inputs = arguments.tensors(0);
    const variable_list outputs = arguments.tensors(1);
    const variable_list saved = arguments.tensors(2);
    const auto node =
        make_node<NodePointer>(environment, std::make_shared<Callback>(environment, arguments.function(3)));
    const bool recording = c10::GradMode::is_enabled() && torch::autograd::any_variable_requires_grad(inputs);
    if (recording) node->set_next_edges(torch::autograd::collect_next_edges(inputs));
    napi_value results;
    napi_create_array_with_length(env, outputs.size(), &results);
    variable_list recorded;
    for (size_t i = 0; i < outputs.size(); ++i) {
      at::Tensor output = outputs[i].detach();
      if (recording) torch::autograd::set_history(output, NodePointer(node));
      recorded.push_back(output);
      napi_set_element(env, results, i, tensor_value(environment, output));
    }
    for (const at::Tensor& tensor : saved) {
      const auto same = std::find_if(outputs.begin(), outputs.end(),
                                     [&](const at::Tensor& output) { return output.is_same(tensor); });
      const bool is_output = same != outputs.end();
      if (recording) node->save(is_output ? recorded[same - outputs.begin()] : tensor, is_output);
    }
    return results;
  });
}

}  // namespace

void export_autograd(napi_env env, napi_value exports) {
  export_function(env, exports, "setGradEnabled", set_grad_enabled);
  export_function(env, exports, "requiresGrad", requires_grad);
  export_function(env, exports, "setRequiresGrad", set_requires_grad);
  export_function(env, exports, "gradOf", grad_of);
  export_function(env, exports, "setGrad", set_grad);
  export_function(env, exports, "backward", backward);
  export_function(env, exports, "gradients", gradients_of);
  export_function(env, exports, "collectProducts", collect_products);
  export_function(env, exports, "addProducts", add_products);
  export_function(env, exports, "freeProducts", free_products);
  export_function(env, exports, "addHook", add_hook);
  export_function(env, exports, "removeHook", remove_hook);
  export_function(env, exports, "customFunction", custom_function);
}

}  // namespace trainyard
