#include "shared-memory/exports.h"

#include <ATen/ATen.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "args.h"
#include "native-object.h"
#include "shared-memory/shared-allocator.h"
#include "shared-memory/shared-group.h"

namespace trainyard {
namespace {

// A group that is not closed leaks: its thread may be waiting for a rank that is gone.
struct SharedGroupHolder {
  std::unique_ptr<SharedGroup> group;
  explicit SharedGroupHolder(std::unique_ptr<SharedGroup> group) : group(std::move(group)) {}
  SharedGroupHolder(SharedGroupHolder&&) = default;
  ~SharedGroupHolder() { group.release(); }
};

SharedGroup& group_of(napi_env env, napi_value value) {
  SharedGroupHolder& holder = object_of<SharedGroupHolder>(env, value);
  if (!holder.group) throw CodedError("COLLECTIVE_FAILED", "The process group was closed.");
  return *holder.group;
}

// "<file>:<token>"
MeetingAddress parsed(const std::string& text) {
  try {
    const size_t split = text.rfind(':');
    if (split != std::string::npos) {
      return {FileAddress::parse(text.substr(0, split)), std::stoull(text.substr(split + 1))};
    }
  } catch (const std::logic_error&) {
  }
  throw CodedError("COLLECTIVE_FAILED", "That is no address of shared memory: " + text);
}

napi_value create_shared_group(napi_env env, napi_callback_info info) {
  return guarded(env, "createSharedGroup", [&] {
    const Arguments arguments(env, info);
    const auto property = [&](const char* name) { return arguments.property(0, name); };
    const MeetingOptions options{
        static_cast<int>(arguments.integer_of(property("rank"))),
        static_cast<int>(arguments.integer_of(property("worldSize"))),
        std::chrono::milliseconds(arguments.integer_of(property("timeoutMs"))),
        static_cast<int>(arguments.integer_of(property("looks"))),
        arguments.boolean_of(property("yields")),
    };
    if (options.rank == 0) return object_value(env, SharedGroupHolder(std::make_unique<SharedGroup>(options)));
    const MeetingAddress address = parsed(arguments.string_of(property("address")));
    return object_value(env, SharedGroupHolder(std::make_unique<SharedGroup>(options, address)));
  });
}

napi_value shared_group_address(napi_env env, napi_callback_info info) {
  return guarded(env, "sharedGroupAddress", [&] {
    const Arguments arguments(env, info);
    const MeetingAddress address = group_of(env, arguments.value(0)).address();
    return string_value(env, address.file.text() + ":" + std::to_string(address.token));
  });
}

napi_value meet_shared_group(napi_env env, napi_callback_info info) {
  return guarded(env, "meetSharedGroup", [&] {
    const Arguments arguments(env, info);
    group_of(env, arguments.value(0)).meet();
    return undefined_value(env);
  });
}

napi_value close_shared_group(napi_env env, napi_callback_info info) {
  return guarded(env, "closeSharedGroup", [&] {
    const Arguments arguments(env, info);
    group_of(env, arguments.value(0));
    object_of<SharedGroupHolder>(env, arguments.value(0)).group.reset();
    return undefined_value(env);
  });
}

napi_value shared_tensor(napi_env env, napi_callback_info info) {
  return guarded(env, "sharedTensor", [&] {
    const Arguments arguments(env, info);
    const auto dtype = static_cast<at::ScalarType>(arguments.integer(1));
    return tensor_value(arguments.environment(), shared_empty(arguments.integers(0), dtype));
  });
}

void check_exchangeable(const at::Tensor& tensor) {
  TORCH_CHECK(tensor.is_contiguous() && tensor.is_cpu(), "ranks exchange contiguous tensors of the host, got ",
              tensor.sizes(), " with strides ", tensor.strides(), " on ", tensor.device());
}

// (group, kind, detail, beside the caller, output, inputs): without inputs the output is the input.
napi_value start_shared(napi_env env, napi_callback_info info) {
  return guarded(env, "startShared", [&] {
    const Arguments arguments(env, info);
    SharedOperation operation{static_cast<Collective>(arguments.integer(1)),
                              static_cast<int32_t>(arguments.integer(2)), {}, {}};
    if (!arguments.is_absent(4)) {
      operation.output = arguments.tensor(4);
      operation.inputs = arguments.is_absent(5) ? std::vector<at::Tensor>{operation.output} : arguments.tensors(5);
    }
    for (const at::Tensor& input : operation.inputs) check_exchangeable(input);
    if (operation.output.defined()) check_exchangeable(operation.output);
    SharedGroup& group = group_of(env, arguments.value(0));
    return number_value(env, static_cast<double>(group.start(std::move(operation), arguments.boolean(3))));
  });
}

napi_value wait_shared(napi_env env, napi_callback_info info) {
  return guarded(env, "waitShared", [&] {
    const Arguments arguments(env, info);
    group_of(env, arguments.value(0)).wait(static_cast<uint64_t>(arguments.integer(1)));
    return undefined_value(env);
  });
}

napi_value shared_exchanged_bytes(napi_env env, napi_callback_info info) {
  return guarded(env, "sharedExchangedBytes", [&] {
    const Arguments arguments(env, info);
    return number_value(env, static_cast<double>(group_of(env, arguments.value(0)).exchanged_bytes()));
  });
}

}  // namespace

void export_shared_memory(napi_env env, napi_value exports) {
  export_function(env, exports, "createSharedGroup", create_shared_group);
  export_function(env, exports, "sharedGroupAddress", shared_group_address);
  export_function(env, exports, "meetSharedGroup", meet_shared_group);
  export_function(env, exports, "closeSharedGroup", close_shared_group);
  export_function(env, exports, "sharedTensor", shared_tensor);
  export_function(env, exports, "startShared", start_shared);
  export_function(env, exports, "waitShared", wait_shared);
  export_function(env, exports, "sharedExchangedBytes", shared_exchanged_bytes);
}

}  // namespace trainyard
