// A host's functions that watch a caption.
#ifndef LIGHTCAP_API_CAPTION_WATCH_H_
#define LIGHTCAP_API_CAPTION_WATCH_H_

#include <string>

#include "api/handles.h"
#include "engine/runtime/host_executor.h"

namespace lightcap::internal {

// Tells the host of every token, and the decoder of the host's answer.
class TokenCalls final : public WordListener {
 public:
  TokenCalls(lightcap_session& handle, const lightcap_caption_options& options)
      : handle_(handle), function_(options.on_token), context_(options.on_token_context) {}

  bool word(const Hypothesis& so_far) override {
    handle_.session.captioner().write_text(so_far, handle_.partial_text);
    int answer = LIGHTCAP_GO_ON;
    call_host("on_token", [&] {
      answer = function_(context_, so_far.tokens.back(), handle_.partial_text.c_str());
    });
    if (answer == LIGHTCAP_CANCEL) throw Error(ErrorCode::kCancelled, "cancelled by on_token");
    if (answer != LIGHTCAP_GO_ON && answer != LIGHTCAP_STOP) {
      usage("on_token returned " + std::to_string(answer) + ", expected 0 to 2");
    }
    return answer == LIGHTCAP_GO_ON;
  }

 private:
  lightcap_session& handle_;
  const lightcap_token_function function_;
  void* const context_;
};

// Tells the host when stages begin and end. The two stages of fusion are one to it.
class StageCalls final : public StageObserver {
 public:
  explicit StageCalls(const StageTarget& target) : target_(target) {}
  // Ends the stage that an error ended.
  ~StageCalls() {
    try {
      end();
    } catch (...) {  // the first error is the one to tell of
    }
  }
  StageCalls(const StageCalls&) = delete;
  StageCalls& operator=(const StageCalls&) = delete;

  void begin(const char* name) {
    name_ = name;
    call(1);
  }
  void end() {
    if (name_ != nullptr) call(0);
    name_ = nullptr;
  }

  void begin(Stage stage) override {
    if (stage != Stage::kRunPrefix) begin(name_of(stage));
  }
  void end(Stage stage, const Session&) override {
    if (stage != Stage::kEmbedPrefix) end();
  }

 private:
  static const char* name_of(Stage stage) {
    switch (stage) {
      case Stage::kPreprocess:
        return "preprocess";
      case Stage::kDetect:
        return "detector";
      case Stage::kEncodeImage:
        return "image_encoder";
      case Stage::kFindConcepts:
        return "concepts";
      case Stage::kEmbedPrefix:
      case Stage::kRunPrefix:
        return "fusion_prefix";
      case Stage::kDecode:
        break;
    }
    return "decoding";
  }
  void call(int begins) {
    if (target_.function == nullptr) return;
    const char* name = name_;
    if (begins == 0) name_ = nullptr;  // told once, even if that throws
    call_host("the stage function", [&] { target_.function(target_.context, name, begins); });
  }

  const StageTarget target_;
  const char* name_ = nullptr;  // of the stage under way
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_API_CAPTION_WATCH_H_
