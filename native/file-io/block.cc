#include "file-io/block.h"

#include <cerrno>
#include <cstring>

namespace trainyard {
namespace {

// A request that brings nothing is made again so often: a disk that makes no progress has failed.
constexpr int most_fruitless = 100;

}  // namespace

Block::Block(std::shared_ptr<Transfer> transfer, int64_t begin, int64_t length, BlockContext& context)
    : transfer_(std::move(transfer)), context_(&context), begin_(begin), length_(length), padded_(length) {
  if (!file().is_direct) return;
  const int64_t rest = length % file().offset_alignment;
  if (rest > 0) padded_ += file().offset_alignment - rest;
  const auto address = reinterpret_cast<uintptr_t>(start());
  if (rest == 0 && address % static_cast<uintptr_t>(file().memory_alignment) == 0) return;
  char* buffer = context.buffers.take();
  if (direction() == Direction::write) {
    std::memcpy(buffer, start(), static_cast<size_t>(length));
    std::memset(buffer + length, 0, static_cast<size_t>(padded_ - length));
  }
  buffer_ = buffer;
}

bool Block::advance(int64_t result) {
  result = context_->faults.result(result);
  if (result == -EINTR || result == -EAGAIN) return true;
  if (result == 0 && direction() == Direction::read) result = -ENODATA;
  if (result < 0) {
    end(static_cast<int>(-result));
    return false;
  }
  // Direct I/O goes on at a multiple of its step: a few bytes are transferred twice.
  const bool is_all = done_ + result >= padded_;
  const int64_t progress = is_all ? result : result / step() * step();
  done_ += progress;
  fruitless_ = progress > 0 ? 0 : fruitless_ + 1;
  if (!is_all && fruitless_ < most_fruitless) return true;
  end(is_all ? 0 : EIO);
  return false;
}

void Block::end(int error) {
  if (buffer_ != nullptr) {
    if (error == 0 && direction() == Direction::read) {
      std::memcpy(transfer_->data + begin_, buffer_, static_cast<size_t>(length_));
    }
    context_->buffers.give(buffer_);
    buffer_ = nullptr;
  }
  transfer_->end_part(length_, {error, offset()});
}

}  // namespace trainyard
