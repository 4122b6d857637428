#include "javascript-thread.h"

namespace trainyard {

void JavaScriptThread::run(const std::function<void()>& work) {
  if (std::this_thread::get_id() == id_) {
    work();
    return;
  }
  Request request{&work, nullptr};
  std::unique_lock<std::mutex> lock(mutex_);
  requests_.push_back(&request);
  changed_.notify_all();
  changed_.wait(lock, [&] { return request.done; });
  if (request.error) std::rethrow_exception(request.error);
}

void JavaScriptThread::serve(Request& request) {
  try {
    (*request.work)();
  } catch (...) {
    request.error = std::current_exception();
  }
}

void JavaScriptThread::serve_while(const std::function<void()>& work) {
  bool finished = false;
  std::exception_ptr error;
  std::thread worker([&] {
    try {
      work();
    } catch (...) {
      error = std::current_exception();
    }
    std::lock_guard<std::mutex> lock(mutex_);
    finished = true;
    changed_.notify_all();
  });
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return finished || !requests_.empty(); });
    if (requests_.empty()) break;
    Request* request = requests_.front();
    requests_.pop_front();
    lock.unlock();
    serve(*request);
    lock.lock();
    request->done = true;
    changed_.notify_all();
  }
  lock.unlock();
  worker.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace trainyard
