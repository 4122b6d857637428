#include "file-io/ring-queue.h"

#ifdef TRAINYARD_RING

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace trainyard {
namespace {

// The tag of the request that reads the event; blocks have theirs from 0 on.
constexpr uint64_t event_tag = UINT64_MAX;

OpenFile create_event() {
  OpenFile event(eventfd(0, EFD_CLOEXEC));
  if (event.descriptor() < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  return event;
}

}  // namespace

// A ring and its thread. The thread always has a request under way that reads an event: so it can wait for the disk and
// for new work at once. An exception in it ends the process: the kernel may still be writing into memory.
class RingQueue::Worker {
 public:
  Worker(const QueueOptions& options, BlockSource& source)
      : options_(options),
        source_(source),
        event_(create_event()),
        ring_(static_cast<uint32_t>(options.depth) + 1),
        slots_(static_cast<size_t>(options.depth)) {
    for (size_t slot = slots_.size(); slot > 0; --slot) free_.push_back(slot - 1);
  }

  void begin() {
    thread_ = std::thread([this] { work(); });
  }

  void join() { thread_.join(); }

  // Something was added, or nothing will be any more.
  void wake() {
    const uint64_t one = 1;
    while (write(event_.descriptor(), &one, sizeof one) < 0 && errno == EINTR) {
    }
  }

 private:
  bool is_idle() const { return free_.size() == slots_.size(); }

  void work() {
    listen();
    while (true) {
      if (is_idle() || options_.overlap_events) fill();
      if (is_idle() && !is_listening_) return;
      ring_.submit(1);
      ring_.reap([this](uint64_t tag, int32_t result) { take(tag, result); });
    }
  }

  void listen() {
    ring_.prepare(IORING_OP_READ, event_.descriptor(), &event_count_, sizeof event_count_, 0, event_tag);
    is_listening_ = true;
  }

  void fill() {
    while (!free_.empty()) {
      std::optional<Block> block = source_.try_take();
      if (!block) return;
      const size_t slot = free_.back();
      free_.pop_back();
      slots_[slot] = std::move(block);
      ask(slot);
    }
  }

  void ask(size_t slot) {
    const Block& block = *slots_[slot];
    const uint8_t operation = block.direction() == Direction::read ? IORING_OP_READ : IORING_OP_WRITE;
    ring_.prepare(operation, block.file().file.descriptor(), block.data(), static_cast<uint32_t>(block.length()),
                  static_cast<uint64_t>(block.offset()), slot);
    if (options_.single_submit) ring_.submit(0);
  }

  void take(uint64_t tag, int32_t result) {
    if (tag == event_tag) {
      is_listening_ = false;
      if (!source_.is_closed()) listen();
      return;
    }
    const size_t slot = static_cast<size_t>(tag);
    if (slots_[slot]->advance(result)) return ask(slot);
    slots_[slot].reset();
    free_.push_back(slot);
  }

  const QueueOptions options_;
  BlockSource& source_;
  OpenFile event_;
  uint64_t event_count_ = 0;
  bool is_listening_ = false;
  Ring ring_;
  std::vector<std::optional<Block>> slots_;
  std::vector<size_t> free_;
  std::thread thread_;
};

RingQueue::RingQueue(const QueueOptions& options) : source_(options) {
  for (int i = 0; i < options.threads; ++i) workers_.push_back(std::make_unique<Worker>(options, source_));
  for (const auto& worker : workers_) worker->begin();
}

RingQueue::~RingQueue() {
  source_.close();
  for (const auto& worker : workers_) worker->wake();
  for (const auto& worker : workers_) worker->join();
}

void RingQueue::start(std::shared_ptr<Transfer> transfer) {
  source_.add(std::move(transfer));
  for (const auto& worker : workers_) worker->wake();
}

}  // namespace trainyard

#endif
