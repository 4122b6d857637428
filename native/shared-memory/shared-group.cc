#include "shared-memory/shared-group.h"

#include <ATen/ATen.h>
#include <sys/mman.h>

#include <cstring>
#include <system_error>

#include "errors.h"

namespace trainyard {
namespace {

// Past so many bytes of all ranks it is cheaper that each rank reads a part than that each reads everything.
constexpr int64_t kMostInline = int64_t{1} << 20;

// Operations after which a mapping that none of them used is given back.
constexpr uint64_t kLongestUnused = 1000;

int64_t bytes_of(const at::Tensor& tensor) { return tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0; }

// What a rank shows the others in all: the same on every rank.
int64_t message_bytes(const SharedOperation& operation) {
  int64_t bytes = 0;
  for (const at::Tensor& input : operation.inputs) bytes += bytes_of(input);
  return bytes;
}

// The part of `elements` that `rank` of `ranks` reduces; parts begin at whole cache lines where that is possible.
int64_t part_start(int64_t elements, int rank, int ranks) {
  constexpr int64_t line = 32;
  const int64_t lines = (elements + line - 1) / line;
  return std::min(elements, lines * rank / ranks * line);
}

}  // namespace

SharedGroup::SharedGroup(const MeetingOptions& options) : meeting_(options) {}

SharedGroup::SharedGroup(const MeetingOptions& options, const MeetingAddress& address) : meeting_(options, address) {}

SharedGroup::~SharedGroup() {
  {
    const std::lock_guard<std::mutex> lock(queue_mutex_);
    closes_ = true;
    if (!queue_.empty()) meeting_.give_up();
  }
  queue_changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  for (const auto& [key, mapping] : mappings_) munmap(mapping.data, mapping.bytes);
}

uint64_t SharedGroup::start(SharedOperation operation, bool beside_caller) {
  uint64_t ticket;
  {
    const std::lock_guard<std::mutex> lock(queue_mutex_);
    queue_.push_back(std::move(operation));
    ticket = ++started_;
    if (!beside_caller) return ticket;
    wanted_beside_ = ticket;
    if (!thread_.joinable()) thread_ = std::thread([this] { run_beside(); });
  }
  queue_changed_.notify_one();
  return ticket;
}

void SharedGroup::wait(uint64_t ticket) {
  while (finished_.load(std::memory_order_acquire) < ticket) run_next(ticket);
  const uint64_t failed = failed_.load(std::memory_order_acquire);
  if (failed != 0 && failed <= ticket) throw CodedError("COLLECTIVE_FAILED", failure_);
}

void SharedGroup::run_beside() {
  std::unique_lock<std::mutex> lock(queue_mutex_);
  while (true) {
    queue_changed_.wait(lock, [this] { return closes_ || (wanted_beside_ > finished_.load() && !queue_.empty()); });
    if (closes_) return;
    const uint64_t wanted = wanted_beside_;
    lock.unlock();
    run_next(wanted);
    lock.lock();
  }
}

void SharedGroup::run_next(uint64_t ticket) {
  const std::lock_guard<std::mutex> execution(execution_mutex_);
  // The other thread was quicker.
  if (finished_ >= ticket) return;
  SharedOperation operation;
  {
    const std::lock_guard<std::mutex> lock(queue_mutex_);
    if (queue_.empty()) return;
    operation = std::move(queue_.front());
    queue_.pop_front();
  }
  try {
    if (failed_ == 0) execute(operation);
  } catch (const std::exception& error) {
    failure_ = error.what();
    failed_.store(finished_ + 1, std::memory_order_release);
    meeting_.give_up();
  }
  // Before anybody is told: the caller may dispose of its tensors then, and count what is left.
  operation = {};
  finished_.fetch_add(1, std::memory_order_release);
}

void SharedGroup::execute(SharedOperation& operation) {
  ++sequence_;
  copies_taken_ = 0;
  if (operation.kind == Collective::barrier) {
    announce(operation, true);
    meeting_.gather();
    return compare();
  }
  const int64_t bytes = message_bytes(operation);
  const bool is_inline = bytes <= static_cast<int64_t>(Meeting::kInlineBytes) && bytes * meeting_.world_size() <= kMostInline;
  if (is_inline) return execute_inline(operation);
  execute_in_place(operation);
}

void SharedGroup::announce(const SharedOperation& operation, bool is_inline) {
  const at::Tensor* first = operation.inputs.empty() ? nullptr : &operation.inputs[0];
  meeting_.announcement(meeting_.rank(), sequence_) = {
      sequence_,
      static_cast<int32_t>(operation.kind),
      first ? static_cast<int32_t>(first->scalar_type()) : 0,
      operation.detail,
      is_inline,
      first ? static_cast<uint64_t>(first->numel()) : 0,
  };
}

void SharedGroup::compare() const {
  const Announcement& own = meeting_.announcement(meeting_.rank(), sequence_);
  for (int rank = 0; rank < meeting_.world_size(); ++rank) {
    const Announcement& other = meeting_.announcement(rank, sequence_);
    if (other == own) continue;
    throw CodedError("COLLECTIVE_FAILED", "mismatch: this rank is in " + described(own) + ", rank " +
                                              std::to_string(rank) + " in " + described(other));
  }
  meeting_.demand_all();
}

// Small messages go through memory of the meeting, and one point suffices: what is written there next time lies
// elsewhere, and by the time after that every rank has come to the next point.
void SharedGroup::execute_inline(SharedOperation& operation) {
  const int ranks = meeting_.world_size();
  uint8_t* own = meeting_.inline_memory(meeting_.rank(), sequence_);
  const bool shows = operation.kind != Collective::broadcast || operation.detail == meeting_.rank();
  if (shows) {
    for (const at::Tensor& input : operation.inputs) {
      std::memcpy(own, input.data_ptr(), input.nbytes());
      own += input.nbytes();
    }
  }
  announce(operation, true);
  meeting_.gather();
  compare();
  at::Tensor& output = operation.output;
  auto* target = static_cast<uint8_t*>(output.data_ptr());
  const auto bytes = static_cast<int64_t>(operation.inputs[0].nbytes());
  switch (operation.kind) {
    case Collective::broadcast:
      std::memcpy(target, meeting_.inline_memory(operation.detail, sequence_), bytes);
      exchanged_ += operation.detail == meeting_.rank() ? 0 : bytes;
      return;
    case Collective::all_gather:
      for (int rank = 0; rank < ranks; ++rank) {
        std::memcpy(target + rank * bytes, meeting_.inline_memory(rank, sequence_), bytes);
      }
      exchanged_ += (ranks - 1) * bytes;
      return;
    case Collective::all_to_all: {
      const int64_t part = bytes / ranks;
      for (int rank = 0; rank < ranks; ++rank) {
        std::memcpy(target + rank * part, meeting_.inline_memory(rank, sequence_) + meeting_.rank() * part, part);
      }
      exchanged_ += (ranks - 1) * part;
      return;
    }
    default: {
      const int64_t offset = operation.kind == Collective::reduce_scatter ? meeting_.rank() * bytes : 0;
      std::vector<const void*> sources;
      for (int rank = 0; rank < ranks; ++rank) sources.push_back(meeting_.inline_memory(rank, sequence_) + offset);
      combine(output.scalar_type(), static_cast<Reduction>(operation.detail), sources, {target}, 0, output.numel());
      exchanged_ += (ranks - 1) * bytes;
    }
  }
}

void SharedGroup::execute_in_place(SharedOperation& operation) {
  switch (operation.kind) {
    case Collective::all_reduce:
      return all_reduce_in_place(operation.output, static_cast<Reduction>(operation.detail));
    case Collective::reduce_scatter:
      return reduce_scatter_in_place(operation);
    default:
      return copy_in_place(operation);
  }
}

// Each rank reduces a part, and writes it into the tensors of all.
void SharedGroup::all_reduce_in_place(at::Tensor& tensor, Reduction reduction) {
  const at::Tensor memory = shared(tensor);
  const int ranks = meeting_.world_size();
  show(0, memory);
  announce({Collective::all_reduce, static_cast<int32_t>(reduction), tensor, {tensor}}, false);
  meeting_.gather();
  compare();
  std::vector<const void*> sources;
  std::vector<void*> targets;
  for (int rank = 0; rank < ranks; ++rank) {
    targets.push_back(rank == meeting_.rank() ? memory.data_ptr() : see(rank, 0));
    sources.push_back(targets.back());
  }
  const int64_t start = part_start(memory.numel(), meeting_.rank(), ranks);
  const int64_t end = part_start(memory.numel(), meeting_.rank() + 1, ranks);
  combine(memory.scalar_type(), reduction, sources, targets, start, end);
  exchanged_ += 2 * (ranks - 1) * (end - start) * static_cast<int64_t>(memory.element_size());
  meeting_.gather();
  if (memory.data_ptr() != tensor.data_ptr()) std::memcpy(tensor.data_ptr(), memory.data_ptr(), tensor.nbytes());
}

void SharedGroup::reduce_scatter_in_place(SharedOperation& operation) {
  const int own = meeting_.rank();
  for (int rank = 0; rank < meeting_.world_size(); ++rank) {
    if (rank != own) show(rank, shared(operation.inputs[rank]));
  }
  announce(operation, false);
  meeting_.gather();
  compare();
  std::vector<const void*> sources;
  for (int rank = 0; rank < meeting_.world_size(); ++rank) {
    sources.push_back(rank == own ? operation.inputs[own].data_ptr() : see(rank, own));
  }
  at::Tensor& output = operation.output;
  combine(output.scalar_type(), static_cast<Reduction>(operation.detail), sources, {output.data_ptr()}, 0,
          output.numel());
  exchanged_ += (meeting_.world_size() - 1) * static_cast<int64_t>(output.nbytes());
  meeting_.gather();
}

// All-gather, all-to-all and broadcast: every rank reads what it has not.
void SharedGroup::copy_in_place(SharedOperation& operation) {
  const bool is_broadcast = operation.kind == Collective::broadcast;
  const bool is_exchange = operation.kind == Collective::all_to_all;
  const at::Tensor& input = operation.inputs[0];
  if (!is_broadcast || operation.detail == meeting_.rank()) show(0, shared(input));
  announce(operation, false);
  meeting_.gather();
  compare();
  auto* target = static_cast<uint8_t*>(operation.output.data_ptr());
  const size_t bytes = is_exchange ? input.nbytes() / meeting_.world_size() : input.nbytes();
  for (int rank = 0; rank < meeting_.world_size(); ++rank) {
    if (is_broadcast && rank != operation.detail) continue;
    uint8_t* part = target + (is_broadcast ? 0 : rank * bytes);
    const void* whole = rank == meeting_.rank() ? input.data_ptr() : see(rank, 0);
    const uint8_t* source = static_cast<const uint8_t*>(whole) + (is_exchange ? meeting_.rank() * bytes : 0);
    if (part != source) std::memcpy(part, source, bytes);
    if (rank != meeting_.rank()) exchanged_ += bytes;
  }
  meeting_.gather();
}

// The tensor itself where its memory is shared; else a copy that is.
at::Tensor SharedGroup::shared(const at::Tensor& tensor) {
  if (shared_place_of(tensor.data_ptr())) return tensor;
  if (copies_taken_ == copies_.size()) copies_.emplace_back();
  at::Tensor& copy = copies_[copies_taken_++];
  const auto bytes = static_cast<int64_t>(tensor.nbytes());
  if (!copy.defined() || static_cast<int64_t>(copy.nbytes()) < bytes) copy = shared_empty({bytes}, at::kByte);
  std::memcpy(copy.data_ptr(), tensor.data_ptr(), tensor.nbytes());
  return copy.narrow(0, 0, bytes).view(tensor.scalar_type());
}

void SharedGroup::show(int peer, const at::Tensor& tensor) {
  meeting_.place(meeting_.rank(), peer, sequence_) = *shared_place_of(tensor.data_ptr());
}

void* SharedGroup::see(int rank, int peer) {
  const SharedPlace place = meeting_.place(rank, peer, sequence_);
  auto [found, is_new] = mappings_.try_emplace({rank, place.number}, Mapping{nullptr, place.region.bytes, 0});
  found->second.used = sequence_;
  try {
    if (is_new) found->second.data = map_shared(open_anonymous_file(place.region, Access::write), place.region.bytes, Access::write);
  } catch (const std::system_error& error) {
    mappings_.erase(found);
    throw CodedError("COLLECTIVE_FAILED", "the memory of rank " + std::to_string(rank) + " cannot be mapped: " + error.code().message());
  }
  if (is_new) forget_unused();
  return static_cast<uint8_t*>(found->second.data) + place.offset;
}

// A region that nobody shows any more may be freed by its owner, and would stay in memory for being mapped here.
void SharedGroup::forget_unused() {
  std::erase_if(mappings_, [this](const auto& entry) {
    const Mapping& mapping = entry.second;
    const bool is_unused = mapping.used + kLongestUnused < sequence_;
    if (is_unused) munmap(mapping.data, mapping.bytes);
    return is_unused;
  });
}

}  // namespace trainyard
