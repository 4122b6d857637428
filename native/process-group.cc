#include "process-group.h"

#include <ATen/ATen.h>

#include <chrono>
#include <mutex>
#include <thread>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

#define USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "args.h"
#include "constant-memory.h"
#include "native-object.h"
#include "rendezvous-store.h"
#include "transport-failure.h"

namespace trainyard {
namespace {

using Milliseconds = std::chrono::milliseconds;
using Backend = c10::intrusive_ptr<c10d::Backend>;
using Work = c10::intrusive_ptr<c10d::Work>;

// A group that is not closed leaks: its destructor joins threads that may wait for a dead peer.
struct GroupHolder {
  Backend backend;
  explicit GroupHolder(Backend backend) : backend(std::move(backend)) {}
  GroupHolder(GroupHolder&&) = default;
  ~GroupHolder() { backend.release(); }
};

c10d::Backend& backend_of(napi_env env, napi_value value) {
  GroupHolder& holder = object_of<GroupHolder>(env, value);
  if (!holder.backend) throw CodedError("COLLECTIVE_FAILED", "The process group was closed.");
  return *holder.backend;
}

std::shared_ptr<gloo::transport::Device> gloo_device(const std::string& interface) {
  return interface.empty() ? c10d::ProcessGroupGloo::createDefaultDevice()
                           : c10d::ProcessGroupGloo::createDeviceForInterface(interface);
}

napi_value create_gloo_group(napi_env env, napi_callback_info info) {
  return guarded(env, "createGlooGroup", [&] {
    const Arguments arguments(env, info);
    keep_transport_failures();
    const auto property = [&](const char* name) { return arguments.property(0, name); };
    const auto store = c10::make_intrusive<c10d::PrefixStore>(arguments.string_of(property("prefix")),
                                                              store_of(env, property("store")));
    const auto options = c10d::ProcessGroupGloo::Options::create(
        Milliseconds(arguments.integer_of(property("timeoutMs"))));
    options->devices.push_back(gloo_device(arguments.string_of(property("networkInterface"))));
    const int rank = static_cast<int>(arguments.integer_of(property("rank")));
    const int world_size = static_cast<int>(arguments.integer_of(property("worldSize")));
    return object_value(env,
                        GroupHolder(c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, world_size, options)));
  });
}

napi_value close_group(napi_env env, napi_callback_info info) {
  return guarded(env, "closeGroup", [&] {
    const Arguments arguments(env, info);
    backend_of(env, arguments.value(0));
    object_of<GroupHolder>(env, arguments.value(0)).backend.reset();
    return undefined_value(env);
  });
}

// The order is that of REDUCTIONS in src/comm/process-group/gloo.ts.
c10d::ReduceOp reduction_of(int64_t number) {
  switch (number) {
    case 0:
      return c10d::ReduceOp::SUM;
    case 1:
      return c10d::ReduceOp::MAX;
    default:
      throw CodedError("TENSOR_OPERATOR", "There is no such reduction.");
  }
}

// The tensor's memory as one dimension, outside autograd: a collective is not a step of the model. A tensor that
// is not contiguous is refused by `view`.
at::Tensor flat(const Arguments& arguments, size_t index) {
  const at::NoGradGuard no_grad;
  return arguments.tensor(index).detach().view({-1});
}

// Gloo looks a rank's connection up without looking whether there is such a rank.
int rank_of(const c10d::Backend& backend, const Arguments& arguments, size_t index) {
  const int64_t rank = arguments.integer(index);
  if (rank >= 0 && rank < backend.getSize()) return static_cast<int>(rank);
  throw CodedError("TENSOR_OPERATOR", "There is no rank " + std::to_string(rank) + " in a group of " +
                                          std::to_string(backend.getSize()) + ".");
}

// The same of a tensor that the collective writes.
at::Tensor result(const Arguments& arguments, size_t index) {
  demand_writable(arguments.tensor(index));
  return flat(arguments, index);
}

void demand_transport() {
  if (const auto failure = transport_failure()) throw CodedError("COLLECTIVE_FAILED", *failure);
}

// Starts a collective. What c10d finds wrong with the tensors stays an operator's error; what its transport
// throws, such as a connection that is gone, is a failed collective.
template <typename Start>
napi_value start(napi_env env, const char* name, napi_callback_info info, Start&& start_on) {
  return guarded(env, name, [&] {
    const Arguments arguments(env, info);
    c10d::Backend& backend = backend_of(env, arguments.value(0));
    demand_transport();
    try {
      return object_value(env, Work(start_on(backend, arguments)));
    } catch (const c10::Error&) {
      throw;
    } catch (const CodedError&) {
      throw;
    } catch (const FreedHandle&) {
      throw;
    } catch (const std::exception& error) {
      throw CodedError("COLLECTIVE_FAILED", error.what());
    }
  });
}

napi_value all_reduce(napi_env env, napi_callback_info info) {
  return start(env, "allReduce", info, [](c10d::Backend& backend, const Arguments& arguments) {
    std::vector<at::Tensor> tensors{result(arguments, 1)};
    c10d::AllreduceOptions options;
    options.reduceOp = reduction_of(arguments.integer(2));
    return backend.allreduce(tensors, options);
  });
}

napi_value broadcast(napi_env env, napi_callback_info info) {
  return start(env, "broadcast", info, [](c10d::Backend& backend, const Arguments& arguments) {
    std::vector<at::Tensor> tensors{result(arguments, 1)};
    c10d::BroadcastOptions options;
    options.rootRank = rank_of(backend, arguments, 2);
    return backend.broadcast(tensors, options);
  });
}

napi_value send(napi_env env, napi_callback_info info) {
  return start(env, "send", info, [](c10d::Backend& backend, const Arguments& arguments) {
    std::vector<at::Tensor> tensors{flat(arguments, 1)};
    return backend.send(tensors, rank_of(backend, arguments, 2), static_cast<int>(arguments.integer(3)));
  });
}

napi_value receive(napi_env env, napi_callback_info info) {
  return start(env, "receive", info, [](c10d::Backend& backend, const Arguments& arguments) {
    std::vector<at::Tensor> tensors{result(arguments, 1)};
    return backend.recv(tensors, rank_of(backend, arguments, 2), static_cast<int>(arguments.integer(3)));
  });
}

napi_value barrier(napi_env env, napi_callback_info info) {
  return start(env, "barrier", info,
               [](c10d::Backend& backend, const Arguments&) { return backend.barrier(c10d::BarrierOptions()); });
}

// Interrupts a wait for a message. Gloo's own deadline for one closes every connection of this rank, so that such a
// wait could neither be bounded nor taken up again.
class Alarm {
 public:
  using Clock = std::chrono::steady_clock;

  // Never destroyed: its thread runs as long as the process.
  static Alarm& instance() {
    static Alarm* const alarm = new Alarm;
    return *alarm;
  }

  void set(const Work& work, Clock::time_point due) {
    const std::lock_guard<std::mutex> lock(mutex_);
    work_ = work;
    due_ = due;
  }

  void clear() {
    const std::lock_guard<std::mutex> lock(mutex_);
    work_.reset();
  }

 private:
  // Ticking costs a wait that ends in time nothing but a lock; waking a thread for each would cost microseconds.
  static constexpr auto kTick = Milliseconds(50);

  Alarm() {
    std::thread([this] {
      while (true) {
        std::this_thread::sleep_for(kTick);
        ring_when_due();
      }
    }).detach();
  }

  void ring_when_due() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!work_ || (Clock::now() < due_ && !transport_failure())) return;
    work_->abort();
    work_.reset();
  }

  std::mutex mutex_;
  Work work_;
  Clock::time_point due_;
};

// Waits for a message; false when the alarm came first. An alarm that comes too late for one wait ends the next one
// at once, which is harmless.
bool wait_for_message(const Work& work, Milliseconds longest) {
  Alarm& alarm = Alarm::instance();
  alarm.set(work, Alarm::Clock::now() + longest);
  try {
    const bool is_done = work->wait(std::chrono::hours(24 * 365));
    alarm.clear();
    return is_done;
  } catch (...) {
    alarm.clear();
    throw;
  }
}

bool wait_for(const Work& work, Milliseconds longest) {
  using Gloo = c10d::ProcessGroupGloo;
  const bool is_message = dynamic_cast<Gloo::SendWork*>(work.get()) || dynamic_cast<Gloo::RecvWork*>(work.get());
  if (is_message) return wait_for_message(work, longest);
  try {
    return work->wait(longest);
  } catch (const c10::Error&) {
    if (!work->isCompleted()) return false;
    throw;
  }
}

// (work, milliseconds): false when it is not done by then; it goes on, and can be waited for again.
napi_value wait_work(napi_env env, napi_callback_info info) {
  return guarded(env, "waitWork", [&] {
    const Arguments arguments(env, info);
    Work& work = object_of<Work>(env, arguments.value(0));
    if (!work) return boolean_value(env, true);
    try {
      const bool is_done = wait_for(work, Milliseconds(arguments.integer(1)));
      if (!is_done) demand_transport();
      if (!is_done) return boolean_value(env, false);
    } catch (const CodedError&) {
      throw;
    } catch (const c10::Error& error) {
      throw CodedError("COLLECTIVE_FAILED", error.what_without_backtrace());
    } catch (const std::exception& error) {
      throw CodedError("COLLECTIVE_FAILED", error.what());
    }
    // A finished work holds on to its tensors; JavaScript's garbage collector may take long to find it.
    work.reset();
    return boolean_value(env, true);
  });
}

}  // namespace

void export_process_group(napi_env env, napi_value exports) {
  export_function(env, exports, "createGlooGroup", create_gloo_group);
  export_function(env, exports, "closeGroup", close_group);
  export_function(env, exports, "allReduce", all_reduce);
  export_function(env, exports, "broadcast", broadcast);
  export_function(env, exports, "send", send);
  export_function(env, exports, "receive", receive);
  export_function(env, exports, "barrier", barrier);
  export_function(env, exports, "waitWork", wait_work);
}

}  // namespace trainyard
