// Prints what the model saw, and where: concepts MODEL.lcw PICTURE
//
// Each concept has a label, its similarity to the picture's part, the detector's score and a box in
// pixels of the upright picture. lightcap.hpp closes handles by itself and throws
// lightcap_api::Error.
#include <cstdio>
#include <lightcap.hpp>

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s MODEL.lcw PICTURE\n", argv[0]);
    return LIGHTCAP_ERROR_USAGE;
  }
  try {
    const lightcap_api::Model model(argv[1]);
    lightcap_api::Session session(model);
    const lightcap_result result = session.caption_file(argv[2]);
    std::printf("%s\n", result.caption);
    for (size_t i = 0; i < result.concept_count; ++i) {
      const lightcap_concept& found = result.concepts[i];
      const float* box = found.box;
      std::printf("%-20s similarity %.2f, score %.2f, box %.0f %.0f %.0f %.0f\n", found.label,
                  static_cast<double>(found.similarity), static_cast<double>(found.score),
                  static_cast<double>(box[0]), static_cast<double>(box[1]),
                  static_cast<double>(box[2]), static_cast<double>(box[3]));
    }
    return 0;
  } catch (const lightcap_api::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.status();
  }
}
