#pragma once
// Hooks and custom backward functions are TypeScript and must run on the JavaScript thread. On a CPU libtorch's
// backward runs there anyway; for other devices it runs on a native thread while the JavaScript thread waits
// here and serves the requests that the hooks queue.

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace trainyard {

class JavaScriptThread {
 public:
  JavaScriptThread() : id_(std::this_thread::get_id()) {}

  // Runs `work` on the JavaScript thread and waits for it. Exceptions come back to the caller.
  void run(const std::function<void()>& work);

  // Runs `work` on a thread of its own while this thread serves `run` requests. Call on the JavaScript thread.
  void serve_while(const std::function<void()>& work);

 private:
  struct Request {
    const std::function<void()>* work;
    std::exception_ptr error;
    bool done = false;
  };

  void serve(Request& request);

  std::thread::id id_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Request*> requests_;
};

}  // namespace trainyard
