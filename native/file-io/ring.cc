#include "file-io/ring.h"

#ifdef TRAINYARD_RING

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

namespace trainyard {
namespace {

[[noreturn]] void fail(int error) { throw std::system_error(error, std::generic_category(), "io_uring"); }

int set_up(uint32_t entries, io_uring_params& parameters) {
  std::memset(&parameters, 0, sizeof parameters);
  const long file = syscall(__NR_io_uring_setup, entries, &parameters);
  if (file < 0) fail(errno);
  return static_cast<int>(file);
}

}  // namespace

RingMemory::RingMemory(int file, uint64_t bytes, uint64_t offset)
    : data_(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file, static_cast<off_t>(offset))),
      bytes_(bytes) {
  if (data_ == MAP_FAILED) fail(errno);
}

RingMemory::~RingMemory() { munmap(data_, bytes_); }

Ring::Ring(uint32_t entries)
    : file_(set_up(entries, parameters_)),
      submission_(file_.descriptor(), parameters_.sq_off.array + parameters_.sq_entries * sizeof(uint32_t),
                  IORING_OFF_SQ_RING),
      completion_(file_.descriptor(), parameters_.cq_off.cqes + parameters_.cq_entries * sizeof(io_uring_cqe),
                  IORING_OFF_CQ_RING),
      entries_(file_.descriptor(), parameters_.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES),
      submission_tail_(submission_.at<uint32_t>(parameters_.sq_off.tail)),
      submission_mask_(*submission_.at<uint32_t>(parameters_.sq_off.ring_mask)),
      submission_order_(submission_.at<uint32_t>(parameters_.sq_off.array)),
      completion_head_(completion_.at<uint32_t>(parameters_.cq_off.head)),
      completion_tail_(completion_.at<uint32_t>(parameters_.cq_off.tail)),
      completion_mask_(*completion_.at<uint32_t>(parameters_.cq_off.ring_mask)),
      completions_(completion_.at<io_uring_cqe>(parameters_.cq_off.cqes)),
      requests_(entries_.at<io_uring_sqe>(0)) {}

void Ring::prepare(uint8_t operation, int file, void* data, uint32_t length, uint64_t offset, uint64_t tag) {
  const uint32_t tail = *submission_tail_;
  const uint32_t place = tail & submission_mask_;
  io_uring_sqe& request = requests_[place];
  std::memset(&request, 0, sizeof request);
  request.opcode = operation;
  request.fd = file;
  request.addr = reinterpret_cast<uint64_t>(data);
  request.len = length;
  request.off = offset;
  request.user_data = tag;
  submission_order_[place] = place;
  __atomic_store_n(submission_tail_, tail + 1, __ATOMIC_RELEASE);
  ++prepared_;
}

void Ring::submit(uint32_t wait_for) {
  while (true) {
    const unsigned flags = wait_for > 0 ? IORING_ENTER_GETEVENTS : 0;
    const long taken = syscall(__NR_io_uring_enter, file_.descriptor(), prepared_, wait_for, flags, nullptr, 0);
    if (taken >= 0) {
      prepared_ -= static_cast<uint32_t>(taken);
      if (prepared_ == 0) return;
    } else if (errno == EAGAIN || errno == EBUSY) {
      // The kernel lacks memory for a moment, or wants its completions taken first.
      if (*completion_head_ != __atomic_load_n(completion_tail_, __ATOMIC_ACQUIRE)) return;
      usleep(100);
    } else if (errno != EINTR) {
      fail(errno);
    }
  }
}

}  // namespace trainyard

#endif
