// std::cout and std::cerr of a program that shares its streams with others.
#ifndef LIGHTCAP_ENGINE_TEXT_STANDARD_STREAMS_H_
#define LIGHTCAP_ENGINE_TEXT_STANDARD_STREAMS_H_

#include <array>
#include <iostream>
#include <streambuf>
#include <utility>

#include "engine/platform/platform.h"

namespace lightcap::internal {

// While it lives, std::cout and std::cerr write by platform::File, which waits for a slow reader
// also where some other program made the pipe or terminal one that does not wait. The C library's
// streams fail there, and lose what they hold. For main().
class StandardStreams {
 public:
  StandardStreams() = default;
  ~StandardStreams() { std::cout.flush(); }
  StandardStreams(const StandardStreams&) = delete;
  StandardStreams& operator=(const StandardStreams&) = delete;

 private:
  class Buffer final : public std::streambuf {
   public:
    Buffer(std::ostream& stream, platform::File file)
        : stream_(stream), file_(std::move(file)), usual_(stream.rdbuf(this)) {
      empty();
    }
    ~Buffer() override { stream_.rdbuf(usual_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

   protected:
    int sync() override {
      const auto held = static_cast<size_t>(pptr() - pbase());
      const bool written = file_.write({reinterpret_cast<const uint8_t*>(pbase()), held});
      empty();
      return written ? 0 : -1;
    }
    int_type overflow(int_type c) override {
      if (sync() != 0) return traits_type::eof();
      return traits_type::eq_int_type(c, traits_type::eof()) ? traits_type::not_eof(c)
                                                             : sputc(traits_type::to_char_type(c));
    }

   private:
    void empty() { setp(held_.data(), held_.data() + held_.size()); }

    std::ostream& stream_;
    const platform::File file_;
    std::streambuf* const usual_;
    std::array<char, 8192> held_;
  };

  Buffer out_{std::cout, platform::File::standard_output()};
  Buffer err_{std::cerr, platform::File::standard_error()};
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_TEXT_STANDARD_STREAMS_H_
