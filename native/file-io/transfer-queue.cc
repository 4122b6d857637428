#include "file-io/transfer-queue.h"

#include <algorithm>

namespace trainyard {

void BlockSource::add(std::shared_ptr<Transfer> transfer) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    waiting_.push_back(std::move(transfer));
  }
  added_.notify_all();
}

void BlockSource::close() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_closed_ = true;
  }
  added_.notify_all();
}

std::optional<Block> BlockSource::try_take() {
  std::unique_lock<std::mutex> lock(mutex_);
  if (waiting_.empty()) return std::nullopt;
  return cut(lock);
}

std::optional<Block> BlockSource::take() {
  std::unique_lock<std::mutex> lock(mutex_);
  added_.wait(lock, [this] { return is_closed_ || !waiting_.empty(); });
  if (waiting_.empty()) return std::nullopt;
  return cut(lock);
}

bool BlockSource::is_closed() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return is_closed_;
}

Block BlockSource::cut(std::unique_lock<std::mutex>& lock) {
  std::shared_ptr<Transfer> transfer = waiting_.front();
  const int64_t begin = begun_;
  const int64_t length = std::min(block_bytes_, transfer->bytes - begin);
  begun_ += length;
  if (begun_ == transfer->bytes) {
    waiting_.pop_front();
    begun_ = 0;
  }
  // Making a block may copy it.
  lock.unlock();
  return Block(std::move(transfer), begin, length, context_);
}

}  // namespace trainyard
