// A thin C++17 face of lightcap.h: handles close themselves, failures are exceptions.
#ifndef LIGHTCAP_HPP_
#define LIGHTCAP_HPP_

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

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

// The functions that a host gives to LightCap are objects of its own: called with the arguments of
// the C type but the context, and alive as long as they may be called. An exception that one throws
// ends the call that it was called in, as an Error with the message.

// Gives notices to log(int level, const char* message), from any thread.
template <class F>
void set_log(F& log) {
  lightcap_set_log([](void* context, int level,
                      const char* message) { (*static_cast<F*>(context))(level, message); },
                   &log);
}
inline void drop_log() { lightcap_set_log(nullptr, nullptr); }

// Gives tokens as they come to on_token(uint32_t token, const char* text) -> lightcap_answer.
template <class F>
void set_on_token(lightcap_caption_options& options, F& on_token) {
  options.on_token_context = &on_token;
  options.on_token = [](void* context, uint32_t token, const char* text) {
    const lightcap_answer answer = (*static_cast<F*>(context))(token, text);
    return static_cast<int>(answer);
  };
}

// A flag that ends captions. Outlives them.
class Cancel {
 public:
  Cancel() {
    lightcap_cancel* flag = nullptr;
    check(lightcap_cancel_open(&flag));
    handle_.reset(flag);
  }
  // From any thread, and from signal handlers.
  void raise() noexcept { lightcap_cancel_set(handle_.get(), 1); }
  void lower() noexcept { lightcap_cancel_set(handle_.get(), 0); }
  const lightcap_cancel* get() const { return handle_.get(); }

 private:
  struct Close {
    void operator()(lightcap_cancel* flag) const { lightcap_cancel_close(flag); }
  };
  std::unique_ptr<lightcap_cancel, Close> handle_;
};

// An array of a result, right for libraries whose elements have more fields than this header knows:
// for (const lightcap_concept& found : lightcap::concepts(result)). Refers to the result.
template <class T, const T* (*At)(const lightcap_result*, size_t)>
class Elements {
 public:
  class Iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;
    using pointer = const T*;
    using reference = const T&;

    Iterator() = default;
    Iterator(const lightcap_result* result, size_t index) : result_(result), index_(index) {}
    const T& operator*() const { return *At(result_, index_); }
    const T* operator->() const { return At(result_, index_); }
    Iterator& operator++() {
      ++index_;
      return *this;
    }
    Iterator operator++(int) {
      const Iterator before = *this;
      ++index_;
      return before;
    }
    bool operator==(const Iterator& other) const {
      return result_ == other.result_ && index_ == other.index_;
    }
    bool operator!=(const Iterator& other) const { return !(*this == other); }

   private:
    const lightcap_result* result_ = nullptr;
    size_t index_ = 0;
  };

  Elements(const lightcap_result& result, size_t count) : result_(&result), count_(count) {}
  Iterator begin() const { return Iterator(result_, 0); }
  Iterator end() const { return Iterator(result_, count_); }
  size_t size() const { return count_; }
  const T& operator[](size_t index) const { return *At(result_, index); }

 private:
  const lightcap_result* result_;
  size_t count_;
};
using Concepts = Elements<lightcap_concept, lightcap_concept_at>;
using Hypotheses = Elements<lightcap_hypothesis, lightcap_hypothesis_at>;
inline Concepts concepts(const lightcap_result& result) {
  return Concepts(result, result.concept_count);
}
inline Hypotheses hypotheses(const lightcap_result& result) {
  return Hypotheses(result, result.hypothesis_count);
}
// The array would outlive its result.
Concepts concepts(const lightcap_result&&) = delete;
Hypotheses hypotheses(const lightcap_result&&) = delete;

class Model {
 public:
  explicit Model(const std::string& path, const lightcap_model_options* options = nullptr) {
    lightcap_model* model = nullptr;
    check(lightcap_model_open(path.c_str(), options, &model));
    handle_.reset(model);
  }
  // A model in bytes that stay as they are until the model and its sessions are gone.
  static Model from_buffer(const void* data, size_t size,
                           const lightcap_model_options* options = nullptr) {
    lightcap_model* model = nullptr;
    check(lightcap_model_open_buffer(data, size, options, &model));
    return Model(model);
  }
  // A model in `size` bytes (0: all) of an open file from `offset` on.
  static Model from_fd(int fd, uint64_t offset = 0, uint64_t size = 0,
                       const lightcap_model_options* options = nullptr) {
    lightcap_model* model = nullptr;
    check(lightcap_model_open_fd(fd, offset, size, options, &model));
    return Model(model);
  }
  const lightcap_model* get() const { return handle_.get(); }

 private:
  explicit Model(lightcap_model* model) : handle_(model) {}

  struct Close {
    void operator()(lightcap_model* model) const { lightcap_model_close(model); }
  };
  std::unique_ptr<lightcap_model, Close> handle_;
};

// Words that captions must contain. Outlives those captions.
class Constraints {
 public:
  explicit Constraints(const Model& model) {
    lightcap_constraints* constraints = nullptr;
    check(lightcap_constraints_open(model.get(), &constraints));
    handle_.reset(constraints);
  }
  // One of these forms.
  void add(const std::vector<std::string>& forms) {
    std::vector<const char*> texts;
    for (const std::string& form : forms) texts.push_back(form.c_str());
    check(lightcap_constraints_add(handle_.get(), texts.data(), texts.size()));
  }
  // The least that lightcap_session_options.max_states has to be.
  size_t states() const { return lightcap_constraints_states(get()); }
  // The form of word `index` that a result contains, or null.
  const char* found(size_t index, const lightcap_result& result) const {
    return lightcap_constraints_found(get(), index, result.tokens, result.token_count);
  }
  const lightcap_constraints* get() const { return handle_.get(); }

 private:
  struct Close {
    void operator()(lightcap_constraints* constraints) const {
      lightcap_constraints_close(constraints);
    }
  };
  std::unique_ptr<lightcap_constraints, Close> handle_;
};

class Session {
 public:
  explicit Session(const Model& model, const lightcap_session_options* options = nullptr) {
    lightcap_session* session = nullptr;
    check(lightcap_session_open(model.get(), options, &session));
    handle_.reset(session);
  }
  lightcap_session* get() const { return handle_.get(); }

  const char* isa() const { return lightcap_session_isa(get()); }
  int threads() const { return lightcap_session_threads(get()); }
  size_t peak_bytes() const { return lightcap_session_peak_bytes(get()); }

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
  lightcap_result caption_frame(const lightcap_frame& frame,
                                const lightcap_caption_options* options = nullptr) {
    lightcap_result result = LIGHTCAP_RESULT_INIT;
    check(lightcap_caption_frame(get(), &frame, options, &result));
    return result;
  }
  // The features of the last picture, until the next caption.
  lightcap_features features() {
    lightcap_features features = LIGHTCAP_FEATURES_INIT;
    check(lightcap_session_features(get(), &features));
    return features;
  }

  // Tells stage(const char* name, int begins) of the stages of captions.
  template <class F>
  void set_stage(F& stage) {
    lightcap_session_set_stage(
        get(),
        [](void* context, const char* name, int begins) {
          (*static_cast<F*>(context))(name, begins);
        },
        &stage);
  }
  void drop_stage() { lightcap_session_set_stage(get(), nullptr, nullptr); }
  // Shows trace(const char* name, const float* data, const size_t* dims, size_t ndim) what the
  // stages compute.
  template <class F>
  void set_trace(F& trace) {
    lightcap_session_set_trace(
        get(),
        [](void* context, const char* name, const float* data, const size_t* dims, size_t ndim) {
          (*static_cast<F*>(context))(name, data, dims, ndim);
        },
        &trace);
  }
  void drop_trace() { lightcap_session_set_trace(get(), nullptr, nullptr); }

 private:
  struct Close {
    void operator()(lightcap_session* session) const { lightcap_session_close(session); }
  };
  std::unique_ptr<lightcap_session, Close> handle_;
};

}  // namespace lightcap

namespace lightcap_api = lightcap;  // its former name

#endif  // LIGHTCAP_HPP_
