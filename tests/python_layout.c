/* Prints the size of each struct of lightcap.h that the Python package passes, and its fields'
 * offsets. */
#include <lightcap.h>
#include <stdio.h>

#define STRUCT(name) printf("%s %zu\n", #name, sizeof(name))
#define FIELD(name, field) printf("%s.%s %zu\n", #name, #field, offsetof(name, field))

int main(void) {
  STRUCT(lightcap_model_options);
  FIELD(lightcap_model_options, struct_size);
  FIELD(lightcap_model_options, read_into_memory);
  STRUCT(lightcap_session_options);
  FIELD(lightcap_session_options, struct_size);
  FIELD(lightcap_session_options, threads);
  FIELD(lightcap_session_options, isa);
  FIELD(lightcap_session_options, max_beams);
  FIELD(lightcap_session_options, executor);
  FIELD(lightcap_session_options, low_memory);
  FIELD(lightcap_session_options, max_states);
  STRUCT(lightcap_caption_options);
  FIELD(lightcap_caption_options, struct_size);
  FIELD(lightcap_caption_options, beams);
  FIELD(lightcap_caption_options, length_penalty);
  FIELD(lightcap_caption_options, ignore_exif);
  FIELD(lightcap_caption_options, max_pixels);
  FIELD(lightcap_caption_options, cancel);
  FIELD(lightcap_caption_options, on_token);
  FIELD(lightcap_caption_options, on_token_context);
  FIELD(lightcap_caption_options, deadline_ms);
  FIELD(lightcap_caption_options, work);
  FIELD(lightcap_caption_options, constraints);
  STRUCT(lightcap_concept);
  FIELD(lightcap_concept, label);
  FIELD(lightcap_concept, similarity);
  FIELD(lightcap_concept, score);
  FIELD(lightcap_concept, box);
  STRUCT(lightcap_timings);
  FIELD(lightcap_timings, read_image);
  FIELD(lightcap_timings, preprocess);
  FIELD(lightcap_timings, detector);
  FIELD(lightcap_timings, image_encoder);
  FIELD(lightcap_timings, concepts);
  FIELD(lightcap_timings, fusion_prefix);
  FIELD(lightcap_timings, decoding);
  FIELD(lightcap_timings, total);
  STRUCT(lightcap_result);
  FIELD(lightcap_result, struct_size);
  FIELD(lightcap_result, caption);
  FIELD(lightcap_result, score);
  FIELD(lightcap_result, tokens);
  FIELD(lightcap_result, token_count);
  FIELD(lightcap_result, concepts);
  FIELD(lightcap_result, concept_count);
  FIELD(lightcap_result, timings_ms);
  FIELD(lightcap_result, concept_bytes);
  FIELD(lightcap_result, token_log_probabilities);
  FIELD(lightcap_result, hypotheses);
  FIELD(lightcap_result, hypothesis_count);
  FIELD(lightcap_result, hypothesis_bytes);
  STRUCT(lightcap_hypothesis);
  FIELD(lightcap_hypothesis, caption);
  FIELD(lightcap_hypothesis, score);
  FIELD(lightcap_hypothesis, tokens);
  FIELD(lightcap_hypothesis, token_log_probabilities);
  FIELD(lightcap_hypothesis, token_count);
  return 0;
}
