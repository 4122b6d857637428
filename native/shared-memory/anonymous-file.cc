#include "shared-memory/anonymous-file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <stdexcept>
#include <system_error>

namespace trainyard {
namespace {

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

struct stat status_of(const OpenFile& file) {
  struct stat status{};
  if (fstat(file.descriptor(), &status) != 0) fail("cannot look at shared memory");
  return status;
}

}  // namespace

std::string FileAddress::text() const {
  char text[96];
  std::snprintf(text, sizeof text, "%" PRId32 ":%" PRId32 ":%" PRIu64 ":%" PRIu64, process, file, inode, bytes);
  return text;
}

FileAddress FileAddress::parse(const std::string& text) {
  FileAddress address;
  int end = 0;
  const int found = std::sscanf(text.c_str(), "%" SCNd32 ":%" SCNd32 ":%" SCNu64 ":%" SCNu64 "%n", &address.process,
                                &address.file, &address.inode, &address.bytes, &end);
  if (found != 4 || static_cast<size_t>(end) != text.size()) {
    throw std::invalid_argument("That is no address of shared memory: " + text);
  }
  return address;
}

OpenFile create_anonymous_file(const char* name, size_t bytes) {
  OpenFile file(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (file.descriptor() < 0 || ftruncate(file.descriptor(), static_cast<off_t>(bytes)) != 0) {
    fail("cannot make shared memory");
  }
  return file;
}

FileAddress address_of(const OpenFile& file) {
  const struct stat status = status_of(file);
  return {getpid(), file.descriptor(), static_cast<uint64_t>(status.st_ino), static_cast<uint64_t>(status.st_size)};
}

OpenFile open_anonymous_file(const FileAddress& address, Access access) {
  const std::string path = "/proc/" + std::to_string(address.process) + "/fd/" + std::to_string(address.file);
  OpenFile file(open(path.c_str(), (access == Access::read ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK));
  if (file.descriptor() < 0) fail("cannot open shared memory");
  const struct stat status = status_of(file);
  if (static_cast<uint64_t>(status.st_ino) != address.inode || static_cast<uint64_t>(status.st_size) != address.bytes) {
    errno = ESTALE;
    fail("it is another file by now");
  }
  return file;
}

void* map_shared(const OpenFile& file, size_t bytes, Access access) {
  const int protection = access == Access::read ? PROT_READ : PROT_READ | PROT_WRITE;
  void* data = mmap(nullptr, bytes, protection, MAP_SHARED, file.descriptor(), 0);
  if (data == MAP_FAILED) fail("cannot map shared memory");
  return data;
}

}  // namespace trainyard
