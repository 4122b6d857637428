#include "file-io/thread-queue.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace trainyard {
namespace {

// More would wait for the same disk.
constexpr int most_threads = 64;

// Pages that went through the cache are of no use there: what was read lies in memory, what was written is read much
// later. Dirty pages can't leave it, so that writing waits for the disk; which also tells of its errors in time.
int64_t leave_cache(const Block& block, int64_t bytes) {
  const int file = block.file().file.descriptor();
#ifdef __linux__
  if (block.direction() == Direction::write) {
    constexpr unsigned all = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    // ESPIPE and the like: a file system without write-back, such as one in memory.
    if (sync_file_range(file, block.offset(), bytes, all) != 0 && (errno == EIO || errno == ENOSPC)) return -errno;
  }
#endif
  posix_fadvise(file, block.offset(), bytes, POSIX_FADV_DONTNEED);
  return bytes;
}

int64_t ask(const Block& block) {
  const int file = block.file().file.descriptor();
  const size_t length = static_cast<size_t>(block.length());
  const ssize_t result = block.direction() == Direction::read ? pread(file, block.data(), length, block.offset())
                                                              : pwrite(file, block.data(), length, block.offset());
  if (result < 0) return -errno;
  return block.file().is_direct || result == 0 ? result : leave_cache(block, result);
}

}  // namespace

ThreadQueue::ThreadQueue(const QueueOptions& options) : source_(options) {
  const int count = std::min(options.depth * options.threads, most_threads);
  for (int i = 0; i < count; ++i) threads_.emplace_back([this] { work(); });
}

ThreadQueue::~ThreadQueue() {
  source_.close();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadQueue::work() {
  while (std::optional<Block> block = source_.take()) {
    while (block->advance(ask(*block))) {
    }
  }
}

}  // namespace trainyard
