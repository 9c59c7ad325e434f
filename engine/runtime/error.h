// How the library reports failure inside: one exception type, turned into a lightcap_status and a
// message at the C boundary (api/handles.h) and into an exit code by the command lines.
#ifndef LIGHTCAP_ENGINE_RUNTIME_ERROR_H_
#define LIGHTCAP_ENGINE_RUNTIME_ERROR_H_

#include <stdexcept>
#include <string>

namespace lightcap::internal {

// The numbers are those of lightcap_status in lightcap.h and of the programs' exit codes (README).
enum class ErrorCode {
  kOk = 0,
  kInput = 1,       // an image is missing, unreadable, malformed or over a limit
  kUsage = 2,       // an argument or option is wrong
  kModel = 3,       // a .lcw file is missing, malformed or contradicts itself
  kCheckpoint = 4,  // a source checkpoint, vocabulary or config is missing, malformed or incomplete
  kIsa = 5,         // the instruction set asked for is unknown, not built in or not supported here
  kMemory = 6,      // out of memory
  kOutput = 7,      // a result could not be written
  kInternal = 8,    // a bug in LightCap
  kMismatch = 9,    // --verify found a difference
  kCancelled = 10,  // the host ended a caption, or its deadline did
};

// what() says what was wrong, what was expected and where, in one line without a final stop.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_RUNTIME_ERROR_H_
