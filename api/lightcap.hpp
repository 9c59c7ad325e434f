// A thin C++17 face of lightcap.h: handles close themselves, failures are exceptions.
#ifndef LIGHTCAP_HPP_
#define LIGHTCAP_HPP_

#include <memory>
#include <stdexcept>
#include <string>

#include "lightcap.h"

namespace lightcap {

class Error : public std::runtime_error {
 public:
  explicit Error(lightcap_status status)
      : std::runtime_error(lightcap_last_error()), status_(status) {}
  lightcap_status status() const noexcept { return status_; }

 private:
  lightcap_status status_;
};

inline void check(lightcap_status status) {
  if (status != LIGHTCAP_OK) throw Error(status);
}

class Model {
 public:
  explicit Model(const std::string& path, const lightcap_model_options* options = nullptr) {
    lightcap_model* model = nullptr;
    check(lightcap_model_open(path.c_str(), options, &model));
    handle_.reset(model);
  }
  const lightcap_model* get() const { return handle_.get(); }

 private:
  struct Close {
    void operator()(lightcap_model* model) const { lightcap_model_close(model); }
  };
  std::unique_ptr<lightcap_model, Close> handle_;
};

class Session {
 public:
  explicit Session(const Model& model, const lightcap_session_options* options = nullptr) {
    lightcap_session* session = nullptr;
    check(lightcap_session_open(model.get(), options, &session));
    handle_.reset(session);
  }
  lightcap_session* get() const { return handle_.get(); }

  // The results' strings and arrays last until this session's next caption.
  lightcap_result caption_file(const std::string& path,
                               const lightcap_caption_options* options = nullptr) {
    lightcap_result result = LIGHTCAP_RESULT_INIT;
    check(lightcap_caption_file(get(), path.c_str(), options, &result));
    return result;
  }
  lightcap_result caption_image(const void* data, size_t size,
                                const lightcap_caption_options* options = nullptr) {
    lightcap_result result = LIGHTCAP_RESULT_INIT;
    check(lightcap_caption_image(get(), data, size, options, &result));
    return result;
  }
  lightcap_result caption_pixels(const uint8_t* rgb, size_t width, size_t height,
                                 size_t row_bytes = 0,
                                 const lightcap_caption_options* options = nullptr) {
    lightcap_result result = LIGHTCAP_RESULT_INIT;
    check(lightcap_caption_pixels(get(), rgb, width, height, row_bytes, options, &result));
    return result;
  }

 private:
  struct Close {
    void operator()(lightcap_session* session) const { lightcap_session_close(session); }
  };
  std::unique_ptr<lightcap_session, Close> handle_;
};

}  // namespace lightcap

namespace lightcap_api = lightcap;  // its former name

#endif  // LIGHTCAP_HPP_
