#include "transport-failure.h"

#include <chrono>
#include <exception>
#include <mutex>
#include <thread>

namespace trainyard {
namespace {

// Longer than a rank that gives up waits for the others.
constexpr auto kLastWords = std::chrono::seconds(10);

std::mutex mutex;
std::optional<std::string> failure;
std::terminate_handler next_handler = nullptr;

// What is being thrown, if Gloo throws it.
std::optional<std::string> gloo_message() {
  try {
    if (const std::exception_ptr current = std::current_exception()) std::rethrow_exception(current);
  } catch (const std::exception& error) {
    const std::string text = error.what();
    if (text.find("gloo/transport") != std::string::npos) return text;
  } catch (...) {
  }
  return std::nullopt;
}

[[noreturn]] void on_terminate() {
  if (const std::optional<std::string> message = gloo_message()) {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      failure = message;
    }
    std::this_thread::sleep_for(kLastWords);
  }
  next_handler();
  std::abort();
}

}  // namespace

void keep_transport_failures() {
  static std::once_flag once;
  std::call_once(once, [] { next_handler = std::set_terminate(on_terminate); });
}

std::optional<std::string> transport_failure() {
  const std::lock_guard<std::mutex> lock(mutex);
  return failure;
}

}  // namespace trainyard
