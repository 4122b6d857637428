#include "heartbeat.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "args.h"

namespace trainyard {
namespace {

class Heartbeat {
 public:
  Heartbeat(int descriptor, off_t offset, std::chrono::milliseconds interval)
      : descriptor_(descriptor), offset_(offset), interval_(interval) {
    // Signals are for the threads that know what to do with them.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  ~Heartbeat() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      over_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }

 private:
  void run() {
    std::unique_lock<std::mutex> lock(mutex_);
    do beat();
    while (!changed_.wait_for(lock, interval_, [this] { return over_; }));
  }

  // One that cannot be written is one that is missed: whoever reads notices, and nobody else.
  void beat() const {
    const std::chrono::duration<double, std::milli> now = std::chrono::system_clock::now().time_since_epoch();
    const double milliseconds = now.count();
    [[maybe_unused]] const ssize_t written = pwrite(descriptor_, &milliseconds, sizeof milliseconds, offset_);
  }

  const int descriptor_;
  const off_t offset_;
  const std::chrono::milliseconds interval_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread thread_;
};

// (descriptor, offset, intervalMs): writes the time, as JavaScript's Date has it, as a double in the machine's byte order,
// until the environment that asked for it ends, be it a worker's. The thread
// is none of the event loop's, so that it keeps no process alive.
napi_value start_heartbeat(napi_env env, napi_callback_info info) {
  return guarded(env, "startHeartbeat", [&] {
    const Arguments arguments(env, info);
    auto heartbeat = std::make_unique<Heartbeat>(static_cast<int>(arguments.integer(0)),
                                                 static_cast<off_t>(arguments.integer(1)),
                                                 std::chrono::milliseconds(arguments.integer(2)));
    const auto end = [](void* data) { delete static_cast<Heartbeat*>(data); };
    napi_add_env_cleanup_hook(env, end, heartbeat.release());
    return undefined_value(env);
  });
}

}  // namespace

void export_heartbeat(napi_env env, napi_value exports) {
  export_function(env, exports, "startHeartbeat", start_heartbeat);
}

}  // namespace trainyard
