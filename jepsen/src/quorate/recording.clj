(ns quorate.recording
  "What `quoratectl history export` writes, read a second time by other code: frames of a mark, a length, a CRC-32 and CBOR
  (RFC 8949). Only what the set of observations needs is looked at: which reports stand at which index.

  Needs clojure.core and the JDK only. A frame that does not check out is skipped, byte by byte, as the format says."
  (:import (java.nio ByteBuffer ByteOrder)
           (java.util.zip CRC32)))

(def ^:private header 10)

(defn- argument "The number that a head's additional information stands for." [^ByteBuffer in info]
  (case (int info)
    24 (bit-and 0xff (.get in))
    25 (bit-and 0xffff (.getShort in))
    26 (bit-and 0xffffffff (.getInt in))
    27 (.getLong in)
    (if (< info 24) info (throw (IllegalArgumentException. "an indefinite length")))))

(defn- text [^ByteBuffer in length]
  (let [bytes (byte-array length)]
    (.get in bytes)
    (String. bytes "UTF-8")))

(defn- special [^ByteBuffer in info]
  (case (int info)
    20 false
    21 true
    (22 23) nil
    25 (do (.getShort in) :half)
    26 (.getFloat in)
    27 (.getDouble in)
    (throw (IllegalArgumentException. "a simple value"))))

(defn item
  "The next CBOR item: maps, vectors, numbers, texts."
  [^ByteBuffer in]
  (let [head (bit-and 0xff (.get in))
        kind (bit-shift-right head 5)
        info (bit-and 0x1f head)]
    (if (= 7 kind)
      (special in info)
      (let [n (argument in info)]
        (case (int kind)
          0 n
          1 (- -1 n)
          2 (vec (.getBytes ^String (text in n)))
          3 (text in n)
          4 (vec (doall (repeatedly n #(item in))))
          5 (into {} (doall (repeatedly n (fn [] (let [k (item in)] [k (item in)])))))
          6 (item in))))))

(defn- frame
  "[body next] of the frame at a place, or nil."
  [^bytes bytes at]
  (when (and (<= (+ at header) (alength bytes))
             (= 0xff (bit-and 0xff (aget bytes at)))
             (= 0x51 (aget bytes (inc at))))
    (let [words (doto (ByteBuffer/wrap bytes) (.order ByteOrder/LITTLE_ENDIAN))
          length (bit-and 0xffffffff (.getInt words (+ at 2)))
          crc (bit-and 0xffffffff (.getInt words (+ at 6)))
          end (+ at header length)]
      (when (<= end (alength bytes))
        (let [sum (doto (CRC32.) (.update bytes (+ at 2) 4) (.update bytes (+ at header) length))]
          (when (= crc (.getValue sum))
            [(ByteBuffer/wrap bytes (+ at header) length) end]))))))

(defn records
  "Every record, in order."
  [^bytes bytes]
  (loop [at 0, found []]
    (if (>= at (alength bytes))
      found
      (if-let [[body end] (frame bytes at)]
        (recur end (conj found (item body)))
        (recur (inc at) found)))))

(defn- covered [indices]
  (reduce (fn [spans index]
            (let [[from to] (peek spans)]
              (if (= index (some-> to inc)) (conj (pop spans) [from index]) (conj spans [index index]))))
          [] (sort (distinct indices))))

(defn reports
  "{:elements [[node number index] …] :covered [[from to] …]} of a recording."
  [bytes]
  (let [records (records bytes)
        placed (keep (fn [record]
                       (when (map? record)
                         (some (fn [kind] (when-let [body (get record kind)] [(get-in body ["p" "index"]) body])) ["E" "T" "V"])))
                     records)]
    {:elements (vec (distinct (for [[index body] placed
                                    :let [action (get-in body ["c" "a"])]
                                    :when (map? action)
                                    report (get action "R")]
                                [(get report "i") (get report "s") index])))
     :covered (covered (map first placed))}))

(defn -main
  "Prints what a file's reports are."
  [file]
  (let [path (.toPath (java.io.File. ^String file))]
    (prn (reports (java.nio.file.Files/readAllBytes path)))))
