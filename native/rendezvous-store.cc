#include "rendezvous-store.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>
#include <thread>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "args.h"
#include "native-object.h"

namespace trainyard {
namespace {

using Milliseconds = std::chrono::milliseconds;

// A holder that is not closed leaks its store: destroying one joins threads, and a finalizer must not wait.
struct StoreHolder {
  c10::intrusive_ptr<c10d::TCPStore> store;
  explicit StoreHolder(c10::intrusive_ptr<c10d::TCPStore> store) : store(std::move(store)) {}
  StoreHolder(StoreHolder&&) = default;
  ~StoreHolder() { store.release(); }
};

StoreHolder& holder_of(napi_env env, napi_value value) {
  StoreHolder& holder = object_of<StoreHolder>(env, value);
  if (!holder.store) throw CodedError("RENDEZVOUS_FAILED", "The store was closed.");
  return holder;
}

// Left to itself the store listens on every interface; a job on one machine has no reason to be reachable from
// others. Returns -1 when the host is not loopback.
int listen_on_loopback(const std::string& host, uint16_t& port) {
  if (host != "127.0.0.1" && host != "localhost") return -1;
  const int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int yes = 1;
  setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  socklen_t length = sizeof address;
  const auto generic = reinterpret_cast<sockaddr*>(&address);
  if (bind(file, generic, length) != 0 || listen(file, SOMAXCONN) != 0) {
    const std::string reason = std::strerror(errno);
    close(file);
    throw CodedError("RENDEZVOUS_FAILED", "Cannot listen on " + host + ":" + std::to_string(port) + ": " + reason);
  }
  getsockname(file, generic, &length);
  port = ntohs(address.sin_port);
  return file;
}

napi_value create_store(napi_env env, napi_callback_info info) {
  return guarded(env, "createStore", [&] {
    const Arguments arguments(env, info);
    const auto property = [&](const char* name) { return arguments.property(0, name); };
    const std::string host = arguments.string_of(property("host"));
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(arguments.integer_of(property("port")));
    options.isServer = arguments.boolean_of(property("isServer"));
    options.timeout = Milliseconds(arguments.integer_of(property("timeoutMs")));
    options.waitWorkers = false;
    if (options.isServer) {
      const int file = listen_on_loopback(host, options.port);
      if (file >= 0) options.masterListenFd = file;
    }
    return object_value(env, StoreHolder(c10::make_intrusive<c10d::TCPStore>(host, options)));
  });
}

napi_value store_port(napi_env env, napi_callback_info info) {
  return guarded(env, "storePort", [&] {
    const Arguments arguments(env, info);
    return number_value(env, holder_of(env, arguments.value(0)).store->getPort());
  });
}

napi_value store_add(napi_env env, napi_callback_info info) {
  return guarded(env, "storeAdd", [&] {
    const Arguments arguments(env, info);
    const StoreHolder& holder = holder_of(env, arguments.value(0));
    return number_value(env, static_cast<double>(holder.store->add(arguments.string(1), arguments.integer(2))));
  });
}

// False when the deadline passes first.
napi_value store_wait(napi_env env, napi_callback_info info) {
  return guarded(env, "storeWait", [&] {
    const Arguments arguments(env, info);
    const StoreHolder& holder = holder_of(env, arguments.value(0));
    const std::string key = arguments.string(1);
    try {
      holder.store->wait({key}, Milliseconds(arguments.integer(2)));
      return boolean_value(env, true);
    } catch (const c10::DistStoreError&) {
      return boolean_value(env, holder.store->check({key}));
    }
  });
}

napi_value store_set(napi_env env, napi_callback_info info) {
  return guarded(env, "storeSet", [&] {
    const Arguments arguments(env, info);
    const StoreHolder& holder = holder_of(env, arguments.value(0));
    static_cast<c10d::Store&>(*holder.store).set(arguments.string(1), arguments.string(2));
    return undefined_value(env);
  });
}

napi_value store_get(napi_env env, napi_callback_info info) {
  return guarded(env, "storeGet", [&] {
    const Arguments arguments(env, info);
    const StoreHolder& holder = holder_of(env, arguments.value(0));
    const std::string key = arguments.string(1);
    holder.store->wait({key}, Milliseconds(arguments.integer(2)));
    return string_value(env, static_cast<c10d::Store&>(*holder.store).get_to_str(key));
  });
}

// What a rank says to the others and hears from them. The store's server may have stopped, and its client has no
// deadlines: so a thread of its own asks, and is left behind when there is no answer.
class StoreExchange {
 public:
  using Clock = std::chrono::steady_clock;

  StoreExchange(c10::intrusive_ptr<c10d::TCPStore> store, std::vector<std::string> keys)
      : store_(std::move(store)), keys_(std::move(keys)), values_(keys_.size()) {}

  void run(const std::string& key, const std::string& value, Clock::time_point deadline) {
    std::vector<std::optional<std::string>> values(keys_.size());
    bool is_answered = true;
    try {
      c10d::Store& store = *store_;
      store.set(key, value);
      while (!read(values) && Clock::now() < deadline) std::this_thread::sleep_for(kPause);
    } catch (const std::exception&) {
      is_answered = false;
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    if (is_answered) values_ = std::move(values);
    is_answered_ = is_answered;
    is_over_ = true;
    over_.notify_all();
  }

  // The values of the keys, as far as they are there; nothing when the store did not answer.
  std::optional<std::vector<std::optional<std::string>>> answer(Clock::time_point deadline) {
    std::unique_lock<std::mutex> lock(mutex_);
    over_.wait_until(lock, deadline, [this] { return is_over_; });
    if (!is_over_ || !is_answered_) return std::nullopt;
    return values_;
  }

 private:
  static constexpr auto kPause = Milliseconds(10);

  // Whether all are there.
  bool read(std::vector<std::optional<std::string>>& values) {
    bool is_complete = true;
    for (size_t i = 0; i < keys_.size(); ++i) {
      if (values[i]) continue;
      if (store_->check({keys_[i]})) {
        values[i] = static_cast<c10d::Store&>(*store_).get_to_str(keys_[i]);
      } else {
        is_complete = false;
      }
    }
    return is_complete;
  }

  const c10::intrusive_ptr<c10d::TCPStore> store_;
  const std::vector<std::string> keys_;
  std::mutex mutex_;
  std::condition_variable over_;
  bool is_over_ = false;
  bool is_answered_ = false;
  std::vector<std::optional<std::string>> values_;
};

// (store, key, value, keys, milliseconds to wait for the keys, milliseconds for the store to answer)
napi_value store_exchange(napi_env env, napi_callback_info info) {
  return guarded(env, "storeExchange", [&] {
    const Arguments arguments(env, info);
    const auto exchange = std::make_shared<StoreExchange>(holder_of(env, arguments.value(0)).store, arguments.strings(3));
    const auto due = StoreExchange::Clock::now() + Milliseconds(arguments.integer(4));
    std::thread([exchange, due, key = arguments.string(1), value = arguments.string(2)] {
      exchange->run(key, value, due);
    }).detach();
    const auto values = exchange->answer(due + Milliseconds(arguments.integer(5)));
    if (!values) return undefined_value(env);
    napi_value result;
    napi_create_array_with_length(env, values->size(), &result);
    for (size_t i = 0; i < values->size(); ++i) {
      const std::optional<std::string>& each = (*values)[i];
      napi_set_element(env, result, static_cast<uint32_t>(i), each ? string_value(env, *each) : undefined_value(env));
    }
    return result;
  });
}

napi_value close_store(napi_env env, napi_callback_info info) {
  return guarded(env, "closeStore", [&] {
    const Arguments arguments(env, info);
    holder_of(env, arguments.value(0)).store.reset();
    return undefined_value(env);
  });
}

}  // namespace

c10::intrusive_ptr<c10d::Store> store_of(napi_env env, napi_value value) { return holder_of(env, value).store; }

void export_rendezvous_store(napi_env env, napi_value exports) {
  export_function(env, exports, "createStore", create_store);
  export_function(env, exports, "storePort", store_port);
  export_function(env, exports, "storeAdd", store_add);
  export_function(env, exports, "storeWait", store_wait);
  export_function(env, exports, "storeSet", store_set);
  export_function(env, exports, "storeGet", store_get);
  export_function(env, exports, "storeExchange", store_exchange);
  export_function(env, exports, "closeStore", close_store);
}

}  // namespace trainyard
