#include "tests/checkpoint_corruptions.h"

#include "tests/checkpoint_files.h"

namespace lightcap::internal::testing {
namespace {

// --- a sound file of each kind, to be damaged ---

const std::string kStorage = storage("FloatStorage", "0", 6);
const std::string kTensor = tensor(kStorage, 0, {2, 3}, {3, 1});
const std::string kData = floats({0, 1, 2, 3, 4, 5});

std::string good_zip() { return torch_zip(dict({{text("weight"), kTensor}}), {{"0", kData}}); }
std::string zip_with(const std::string& value) { return torch_zip(value, {{"0", kData}}); }
std::string zip_of_tensor(int64_t offset, const std::vector<int64_t>& shape,
                          const std::vector<int64_t>& strides) {
  return zip_with(dict({{text("weight"), tensor(kStorage, offset, shape, strides)}}));
}
std::string zip_of_pickle(const std::string& bytes) {
  return zip({{"archive/data.pkl", bytes}, {"archive/data/0", kData}});
}
std::string good_legacy() {
  return torch_legacy(dict({{text("weight"), kTensor}}), {"0"}, little(6, 8) + kData);
}

std::string tar_storages() {
  return pickle(integer(1)) +
         pickle(tuple({integer(7), text("cpu"), global("torch", "FloatStorage")})) + little(6, 8) +
         kData + pickle(list({}));
}
std::string tar_tensors(uint32_t dims = 2, int64_t storage_key = 7) {
  return pickle(integer(1)) +
         pickle(tuple({integer(9), integer(storage_key), global("torch", "FloatTensor")})) +
         little(dims, 4) + "\x07" + little(0, 3) + little(2, 8) + little(3, 8) + little(3, 8) +
         little(1, 8) + little(0, 8);
}
std::string tar_of(const std::string& storages, const std::string& tensors) {
  return tar({{"sys_info", pickle(dict({}))},
              {"pickle", pickle(dict({{text("weight"), text("9") + "Q"}}))},
              {"tensors", tensors},
              {"storages", storages}});
}

constexpr char kHeader[] = R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})";
std::string header_with(const char* fields) { return "{\"a\":{" + std::string(fields) + "}}"; }
std::string tensors_with(const char* fields) { return safetensors(header_with(fields), kData); }

// A list of ten times the list before: 10^`levels` tensors in few bytes.
std::string laughs(int levels) {
  std::string value = kTensor + "q" + little(0, 1);
  for (int level = 1; level <= levels; ++level) {
    const std::string before = std::string("h").append(little(static_cast<uint64_t>(level - 1), 1));
    value.insert(0, "](");
    for (int i = 0; i < 9; ++i) value += before;
    value += "eq" + little(static_cast<uint64_t>(level), 1);
  }
  return value;
}

// The zip64 records that torch.save writes in front of the end, with the directory at `offset`.
std::string with_zip64(std::string file, uint64_t locator_offset_error) {
  const size_t end = position_of(file, "PK\x05\x06");
  const std::string tail = file.substr(end);
  const std::string count = tail.substr(8, 2), size = tail.substr(12, 4), at = tail.substr(16, 4);
  const std::string zeros4 = little(0, 4);
  file.resize(end);
  file += "PK\x06\x06" + little(44, 8) + little(0, 12) + count + little(0, 6) + count +
          little(0, 6) + size + zeros4 + at + zeros4;
  file += "PK\x06\x07" + little(0, 4) + little(end + locator_offset_error, 8) + little(1, 4);
  return file + tail.substr(0, 8) + "\xff\xff\xff\xff" + little(0xFFFFFFFF, 4) +
         little(0xFFFFFFFF, 4) + little(0, 2);
}

// Entry b's header and data lie inside entry a's data.
std::string overlapping_zip() {
  const ZipMember inner = {"b", "bytes of b"};
  const std::string alone = zip({inner});
  const std::string file = zip({{"a", alone.substr(0, position_of(alone, "PK\x01\x02"))}, inner});
  const size_t entry = position_of(file, "PK\x01\x02", 1);
  return patched(file, entry + 42, little(position_of(file, "PK\x03\x04", 1), 4));
}

std::vector<Corruption> zip_corruptions() {
  const std::string good = good_zip();
  const size_t end = position_of(good, "PK\x05\x06");
  const size_t entry = position_of(good, "PK\x01\x02");
  const size_t storage_entry = position_of(good, "PK\x01\x02", 1);
  return {
      {"zip_cut_in_half", good.substr(0, good.size() / 2), "truncated zip archive"},
      {"zip_without_end", good.substr(0, end), "its end, where a zip's directory is, is missing"},
      {"zip_directory_past_end", patched(good, end + 16, little(1 << 30, 4)), "outside the file"},
      {"zip_count_lies", patched(good, end + 10, little(60000, 2)), "60000 entries do not fit"},
      {"zip_directory_cut", patched(good, position_of(good, "PK\x01\x02", 2) + 32, little(9, 2)),
       "the zip directory is truncated"},
      {"zip_entry_signature", patched(good, entry, "PX"), "wrong signature"},
      {"zip_local_header_gone",
       patched(good, 0, "PK\x03\x04XXXX").replace(entry + 42, 4, little(4, 4)),
       "has no local header at byte 4"},
      {"zip_header_offset_past_end", patched(good, entry + 42, little(1 << 30, 4)),
       "past the end of the file"},
      {"zip_names_differ", zip({{"a/data.pkl", pickle("N"), 0, UINT64_MAX, 0, "a/data.pk2"}}),
       "another name in its local header"},
      {"zip_entry_past_end",
       patched(patched(good, storage_entry + 20, little(5000, 4)), storage_entry + 24,
               little(5000, 4)),
       "reaches past the end of the file"},
      {"zip_encrypted", patched(good, entry + 8, little(1, 2)), "is encrypted"},
      {"zip_unknown_method", patched(good, entry + 10, little(12, 2)), "packed with method 12"},
      {"zip_stored_sizes_differ", patched(good, storage_entry + 24, little(3, 4)),
       "its sizes differ: 24 and 3"},
      {"zip_name_twice", zip({{"a/data.pkl", pickle("N")}, {"a/data.pkl", pickle("N")}}),
       "is there twice"},
      {"zip_entries_overlap", overlapping_zip(), "overlaps zip entry 'a'"},
      {"zip_wrong_crc", zip({{"a/data.pkl", pickle("N"), 0, UINT64_MAX, 1234}}), "CRC-32"},
      {"zip_deflated_garbage", zip({{"a/data.pkl", "\xff\xff\xff", 8, 100}}), "does not unpack"},
      {"zip_deflate_bomb", zip({{"a/data.pkl", "\x03", 8, 2'000'000'000}}), "deflate cannot do"},
      {"zip_without_pickle", zip({{"readme.txt", "hello"}}), "it has no data.pkl"},
      {"zip_two_pickles", zip({{"a/data.pkl", pickle("N")}, {"b/data.pkl", pickle("N")}}),
       "two checkpoints"},
      {"zip_of_numpy", zip({{"arr_0.npy", "\x93NUMPY"}}), ".npz archive"},
      {"zip_of_keras", zip({{"config.json", "{}"}}), "Keras or TensorFlow"},
      {"zip_of_old_torchscript", zip({{"m/model.json", "{}"}}), "before 1.4"},
      {"zip_storage_missing", torch_zip(dict({{text("w"), kTensor}}), {}),
       "has no entry 'archive/data/0'"},
      {"zip_storage_short", torch_zip(dict({{text("w"), kTensor}}), {{"0", kData.substr(4)}}),
       "has 20 bytes, too few for its 6 elements of f32"},
      {"zip_byte_order", zip({{"a/data.pkl", pickle("N")}, {"a/byteorder", "middle"}}),
       "byte order is 'middle'"},
      {"zip_version_newer", zip({{"a/data.pkl", pickle("N")}, {"a/version", "99"}}),
       "format version 99, newer"},
      {"zip_version_text", zip({{"a/data.pkl", pickle("N")}, {"a/version", "new"}}),
       "expected a number"},
      {"zip64_locator_outside", with_zip64(good, 1 << 20), "zip64 locator points to byte"},
      {"zip64_locator_elsewhere", with_zip64(good, 1), "does not point to a zip64 end record"},
      {"zip64_field_missing", patched(good, storage_entry + 24, little(0xFFFFFFFF, 4)),
       "zip64 field, which is missing"},
  };
}

std::vector<Corruption> pickle_corruptions() {
  const auto of = zip_of_pickle;
  return {
      {"pickle_empty", of(""), "STOP is missing"},
      {"pickle_without_stop", of("\x80\x02N"), "STOP is missing"},
      {"pickle_stack_empty", of("\x80\x02."), "the stack is empty"},
      {"pickle_below_mark", of("\x80\x02N(R."), "the stack is empty"},
      {"pickle_mark_missing", of("\x80\x02Nt."), "a MARK is missing"},
      {"pickle_unknown_opcode", of("\x80\x02\xff."), "opcode 255 is not known"},
      {"pickle_memo_unset", of("\x80\x02h\x05."), "memo number 5 is read but was never set"},
      {"pickle_memo_huge", of("\x80\x02Nr\xff\xff\xff\x7f."), "memo number 2147483647 is absurd"},
      {"pickle_protocol_9", of("\x80\x09N."), "protocol 9 is not known"},
      {"pickle_text_4gb", of("\x80\x02X\xff\xff\xff\xff."), "needs 4294967295 bytes"},
      {"pickle_text_2_to_63", of("\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f."),
       "needs 922337203"},
      {"pickle_long_2gb", of("\x80\x02\x8b\xff\xff\xff\x7f."), "needs 2147483647 bytes"},
      {"pickle_line_without_end",
       of("\x80\x02"
          "cos"),
       "does not end"},
      {"pickle_number_of_letters", of("Ifour\n."), "'four' is not a number"},
      {"pickle_text_without_quotes", of("Sabc\n."), "lacks its quotes"},
      {"pickle_key_without_value", of("\x80\x02}(Nu."), "a key has no value"},
      {"pickle_append_to_number", of("\x80\x02K\x01Na."), "APPEND is applied to something else"},
      {"pickle_build_number", of("\x80\x02K\x01Nb."), "BUILD is applied to"},
      {"pickle_extension_code", of("\x80\x02\x82\x01."), "extension codes"},
      {"pickle_buffers_outside", of("\x80\x05\x97."), "outside of the file"},
      {"pickle_class_by_number", of("\x80\x04K\x01K\x02\x93."), "STACK_GLOBAL"},
      {"pickle_obj_without_class", of("\x80\x02(o."), "OBJ has no class"},
      {"pickle_billion_laughs", of(pickle(laughs(9))),
       "bytes of names, values and unpacked data, the limit for a file"},
  };
}

std::vector<Corruption> tensor_corruptions() {
  const std::string rebuild = global("torch._utils", "_rebuild_tensor_v2");
  const auto value = [](const std::string& of) { return zip_with(dict({{text("w"), of}})); };
  const std::string parameter = global("torch._utils", "_rebuild_parameter");
  std::string wrapped = kTensor;
  for (int i = 0; i < 20; ++i) wrapped = call(parameter, {wrapped});
  return {
      {"tensor_few_arguments", value(call(rebuild, {kStorage})), "too few arguments"},
      {"tensor_negative_size", zip_of_tensor(0, {-2, 3}, {3, 1}), "negative size or stride"},
      {"tensor_negative_stride", zip_of_tensor(5, {2, 3}, {3, -1}), "negative size or stride"},
      {"tensor_negative_offset", zip_of_tensor(-1, {2, 3}, {3, 1}), "reaches outside"},
      {"tensor_outside_by_one", zip_of_tensor(1, {2, 3}, {3, 1}),
       "tensor 'weight': a tensor of shape [2, 3] at offset 1 reaches outside of its storage of 6"},
      {"tensor_product_overflows", zip_of_tensor(0, {1LL << 40, 1LL << 40}, {0, 0}),
       "reaches outside"},
      {"tensor_stride_overflows", zip_of_tensor(0, {3, 2}, {INT64_MAX, 1}), "reaches outside"},
      {"tensor_expanded_to_tera", zip_of_tensor(0, {1LL << 40}, {0}), "claims far more values"},
      {"tensor_ranks_differ", zip_of_tensor(0, {2, 3}, {1}), "2 dimensions and 1 strides"},
      {"tensor_offset_is_text",
       value(call(rebuild, {kStorage, text("0"), integers({1}), integers({1})})),
       "offset is not a 64-bit number"},
      {"tensor_size_beyond_64_bits",
       value(call(rebuild, {kStorage, integer(0), tuple({"\x8a\x09" + std::string(9, '\x7f')}),
                            integers({1})})),
       "shape is not a 64-bit number"},
      {"tensor_shape_is_number",
       value(call(rebuild, {kStorage, integer(0), integer(6), integer(1)})),
       "shape is not a tuple"},
      {"tensor_storage_is_text",
       value(call(rebuild, {text("0"), integer(0), integers({1}), integers({1})})),
       "storage is not of the form"},
      {"tensor_storage_negative", value(tensor(storage("FloatStorage", "0", -1), 0, {1}, {1})),
       "negative size"},
      {"tensor_storage_has_quintillions",
       value(tensor(storage("DoubleStorage", "0", INT64_MAX), 0, {1}, {1})), "too few for its"},
      {"tensor_two_types_too_large", value(tensor(storage("DoubleStorage", "0", 6), 0, {6}, {1})),
       "too few for its 6 elements of f64"},
      {"tensor_parameters_nested", value(wrapped), "wrapped more than 16 times"},
      {"tensor_parameter_empty", value(call(parameter, {})), "a Parameter holds no tensor"},
      {"tensor_complex", value(tensor(storage("ComplexFloatStorage", "0", 3), 0, {3}, {1})),
       "it is complex (ComplexFloatStorage)"},
      {"tensor_quantised", value(call(global("torch._utils", "_rebuild_qtensor"), {})),
       "it is quantised (torch._utils._rebuild_qtensor)"},
      {"tensor_sparse", value(call(global("torch._utils", "_rebuild_sparse_tensor"), {})),
       "it is sparse"},
  };
}

std::vector<Corruption> legacy_corruptions() {
  const std::string good = good_legacy();
  const std::string weight = dict({{text("weight"), kTensor}});
  const size_t protocol = position_of(good, integer(1001));
  const std::string six = little(6, 8) + kData;
  return {
      {"legacy_protocol_1000", patched(good, protocol, integer(1000)),
       "protocol number is not 1001"},
      {"legacy_cut_in_pickle", good.substr(0, 60), "is truncated or damaged"},
      {"legacy_cut_in_storage", good.substr(0, good.size() - 1),
       "storage '0' of 6 elements reaches"},
      {"legacy_cut_before_storage", good.substr(0, good.size() - 30), "a storage's size"},
      {"legacy_size_differs", torch_legacy(weight, {"0"}, little(5, 8) + kData),
       "has 5 elements, expected 6"},
      {"legacy_size_negative", torch_legacy(weight, {"0"}, little(UINT64_MAX, 8) + kData),
       "has -1 elements"},
      {"legacy_key_unknown", torch_legacy(weight, {"0", "1"}, six + six),
       "names '1', which no tensor"},
      {"legacy_key_twice", torch_legacy(weight, {"0", "0"}, six + six), "is there twice"},
      {"legacy_key_missing", torch_legacy(weight, {}, six), "storage '0' is not in the file"},
      {"legacy_storage_two_ways",
       torch_legacy(list({kTensor, tensor(storage("HalfStorage", "0", 6), 0, {6}, {1})}), {"0"},
                    six),
       "described in two ways"},
      {"legacy_storage_class",
       torch_legacy(tensor(storage("StringStorage", "0", 6), 0, {6}, {1}), {"0"}, six),
       "'StringStorage' is not known"},
      {"legacy_view_outside",
       torch_legacy(
           tensor(tuple({text("storage"), global("torch", "FloatStorage"), text("0"), text("cpu"),
                         integer(6), tuple({text("1"), integer(4), integer(3)})}) +
                      "Q",
                  0, {3}, {1}),
           {"0"}, six),
       "view of storage '0' reaches outside"},
  };
}

std::vector<Corruption> tar_corruptions() {
  const std::string good = tar_of(tar_storages(), tar_tensors());
  return {
      {"tar_checksum", patched(good, 0, "S"), "checksum of member 'Sys_info' does not match"},
      {"tar_cut", good.substr(0, 2000), "tar archive"},
      {"tar_of_photos", tar({{"photo.jpg", "x"}}), "without the member 'pickle'"},
      {"tar_member_twice", tar({{"pickle", "x"}, {"pickle", "x"}}), "two members 'pickle'"},
      {"tar_storage_missing", tar_of(tar_storages(), tar_tensors(2, 8)),
       "storage 8 is not in the file"},
      {"tar_100_dimensions", tar_of(tar_storages(), tar_tensors(100)), "100 dimensions"},
      {"tar_count_absurd", tar_of(pickle(integer(1 << 30)), tar_tensors()), "absurd count"},
      {"tar_storage_past_end",
       tar_of(
           patched(tar_storages(), position_of(tar_storages(), little(6, 8)), little(1 << 20, 8)),
           tar_tensors()),
       "needs 4194304 bytes"},
  };
}

std::vector<Corruption> safetensors_corruptions() {
  return {
      {"safetensors_cut", safetensors(kHeader, kData.substr(1)), "truncated"},
      {"safetensors_header_cut", safetensors(kHeader, "").substr(0, 30),
       "the header at byte 8 needs"},
      {"safetensors_trailing_bytes", safetensors(kHeader, kData + "x"), "end at byte 24"},
      {"safetensors_no_json", safetensors("{\"a\":", kData), "no JSON at byte"},
      {"safetensors_name_twice",
       safetensors(R"({"a":{"dtype":"F32","shape":[6],"data_offsets":[0,24]},"a":{}})", kData),
       "the name 'a' is twice"},
      {"safetensors_field_twice", tensors_with(R"("dtype":"F32","dtype":"F32")"), "'dtype' twice"},
      {"safetensors_shape_too_large",
       tensors_with(R"("dtype":"F32","shape":[2,4],"data_offsets":[0,24])"),
       "shape [2, 4] of f32 does not fill its 24 bytes"},
      {"safetensors_product_overflows",
       tensors_with(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,24])"),
       "does not fill"},
      {"safetensors_gap", tensors_with(R"("dtype":"F32","shape":[5],"data_offsets":[4,24])"),
       "a gap or an overlap"},
      {"safetensors_overlap",
       safetensors(R"({"a":{"dtype":"U8","shape":[16],"data_offsets":[0,16]},)"
                   R"("b":{"dtype":"U8","shape":[16],"data_offsets":[8,24]}})",
                   kData),
       "tensor 'b' lies at bytes 8 to 24, expected it to begin at 16"},
      {"safetensors_backwards", tensors_with(R"("dtype":"F32","shape":[6],"data_offsets":[0,-24])"),
       "unexpected a negative number"},
      {"safetensors_fraction", tensors_with(R"("dtype":"F32","shape":[6.5],"data_offsets":[0,24])"),
       "unexpected a fraction"},
      {"safetensors_beyond_64_bits",
       tensors_with(R"("dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,24])"),
       "beyond 64 bits"},
      {"safetensors_field_missing", tensors_with(R"("dtype":"F32","shape":[6])"), "lacks a dtype"},
      {"safetensors_one_offset", tensors_with(R"("dtype":"F32","shape":[6],"data_offsets":[24])"),
       "two data_offsets"},
      {"safetensors_nested", tensors_with(R"("dtype":{"a":1})"), "unexpected an object"},
      {"safetensors_null", tensors_with(R"("dtype":null)"), "unexpected null"},
      {"safetensors_deep", safetensors("{\"a\":{\"shape\":" + std::string(100'000, '['), kData),
       "unexpected a list"},
      {"safetensors_float8",
       tensors_with(R"("dtype":"F8_E4M3","shape":[24],"data_offsets":[0,24])"),
       "it is of type F8_E4M3"},
      {"safetensors_metadata_number", safetensors(R"({"__metadata__":{"a":1}})", ""),
       "unexpected a number"},
      {"index_of_something_else", "{\"hidden_size\": 312}", "it has no \"weight_map\""},
      {"index_outside_its_folder", R"({"weight_map":{"a":"../../etc/passwd"}})", "not beside it"},
      {"index_shard_missing", R"({"weight_map":{"a":"gone.safetensors"}})", "cannot open the file"},
  };
}

std::vector<Corruption> not_checkpoints() {
  using namespace std::string_literals;
  return {
      {"empty_file", "", "the file is empty"},
      {"one_byte", "P", "a text file that begins with 'P'"},
      {"html_page", "\n<!DOCTYPE html><html><head>404", "an HTML page"},
      {"xml_error", "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code>", "an XML document"},
      {"lfs_pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"},
      {"gzip", "\x1f\x8b\x08 and more", "a gzip archive; unpack it"},
      {"bzip2", "BZh91AY", "a bzip2 archive"},
      {"xz",
       "\xfd"
       "7zXZ\0"s,
       "an xz archive"},
      {"zstd", "\x28\xb5\x2f\xfd more", "a zstd archive"},
      {"seven_zip", "7z\xbc\xaf\x27\x1c", "a 7z archive"},
      {"rar", "Rar!\x1a\x07", "a rar archive"},
      {"empty_zip", "PK\x05\x06"s + std::string(18, '\0'), "an empty zip"},
      {"torch_preview", "PYTORCH1 and more", "PyTorch 1.0 preview"},
      {"lightcap_file", "LCW\r\n\x1a\n", "a LightCap weights file, converted already"},
      {"gguf", "GGUF\x03", "a GGUF model"},
      {"tflite", "\x1c\0\0\0TFL3"s, "a TensorFlow Lite model"},
      {"keras_hdf5", "\x89HDF\r\n", "an HDF5 file"},
      {"numpy_array", "\x93NUMPY\x01", "a NumPy array"},
      {"tensorflow_list", "model_checkpoint_path: \"model.ckpt\"", "TensorFlow's list"},
      {"tensorflow_index", "\x01\x02 some table \x57\xfb\x80\x8b\x24\x75\x47\xdb",
       "the index of a TensorFlow"},
      {"onnx", "\x08\x07\x12\x07pytorch\x1a\x05", "an ONNX model"},
      {"picture", "\x89PNG\r\n", "a PNG picture"},
      {"plain_pickle", pickle(dict({})), "a plain Python pickle"},
      {"zeros", std::string(5000, '\0'), "begins with zeros only"},
      {"words", "weights: none\n", "a text file that begins with 'weights: none"},
      {"noise", "\x01\x02\x03\xfe\xfd", "no checkpoint that LightCap knows"},
  };
}

}  // namespace

std::vector<std::string> sound_checkpoints() {
  return {good_zip(),
          with_zip64(good_zip(), 0),
          good_legacy(),
          tar_of(tar_storages(), tar_tensors()),
          safetensors(kHeader, kData),
          zip_of_tensor(0, {3, 2}, {1, 3})};
}

std::vector<Corruption> all_corruptions() {
  std::vector<Corruption> all;
  for (const auto& group :
       {zip_corruptions(), pickle_corruptions(), tensor_corruptions(), legacy_corruptions(),
        tar_corruptions(), safetensors_corruptions(), not_checkpoints()}) {
    all.insert(all.end(), group.begin(), group.end());
  }
  return all;
}

}  // namespace lightcap::internal::testing
