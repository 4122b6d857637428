#pragma once
// Where transfers wait for the disk. The contract; thread-queue and ring-queue are its implementations.

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>

#include "file-io/block.h"

namespace trainyard {

struct QueueOptions {
  // What one request asks for.
  int64_t block_bytes;
  // Requests under way at once on each thread.
  int depth;
  int threads;
  // io_uring: whether each request is handed to the kernel by a call of its own.
  bool single_submit;
  // io_uring: whether new requests follow as soon as one ends; else when all have.
  bool overlap_events;
  FaultPlan faults;
};

// Reads and writes as they were asked for, in blocks, for whoever works on them.
class BlockSource {
 public:
  explicit BlockSource(const QueueOptions& options)
      : block_bytes_(options.block_bytes),
        context_{AlignedBuffers(static_cast<size_t>(options.block_bytes) + page_bytes), Faults(options.faults)} {}

  void add(std::shared_ptr<Transfer> transfer);
  // No more will come. What has been added is still handed out.
  void close();

  // The next block; none, where there is none now.
  std::optional<Block> try_take();
  // The next block; waits for one. None, when there will be none.
  std::optional<Block> take();
  bool is_closed();

 private:
  // With the lock held and something there.
  Block cut(std::unique_lock<std::mutex>& lock);

  const int64_t block_bytes_;
  BlockContext context_;
  std::mutex mutex_;
  std::condition_variable added_;
  std::deque<std::shared_ptr<Transfer>> waiting_;
  // How much of the first has been handed out.
  int64_t begun_ = 0;
  bool is_closed_ = false;
};

class TransferQueue {
 public:
  // Ends when everything that was started has.
  virtual ~TransferQueue() = default;
  virtual void start(std::shared_ptr<Transfer> transfer) = 0;
};

}  // namespace trainyard
