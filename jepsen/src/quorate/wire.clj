(ns quorate.wire
  "What the witness must understand of DNS: the head of a message, and what an UPDATE adds (RFC 1035 §4.1, RFC 2136 §2).

  Reads only what is there; a message that is cut short is nil. Needs clojure.core only."
  (:require [clojure.string :as string]))

(defn- u8 [message at] (bit-and 0xff (nth message at)))
(defn- u16 [message at] (+ (* 256 (u8 message at)) (u8 message (inc at))))

(defn opcode [message] (bit-and 0x0f (bit-shift-right (u8 message 2) 3)))
(defn rcode [message] (bit-and 0x0f (u8 message 3)))
(defn update? [message] (and (>= (count message) 12) (= 5 (opcode message))))

(defn- read-name
  "[name next]: labels in lower case, joined by dots; follows pointers, which may only point backwards."
  [message at]
  (loop [at at, labels [], next nil]
    (let [length (u8 message at)]
      (cond
        (zero? length) [(string/join "." labels) (or next (inc at))]
        (>= length 0xc0) (let [to (bit-and 0x3fff (u16 message at))]
                           (when (< to at) (recur to labels (or next (+ at 2)))))
        :else (recur (+ at 1 length)
                     (conj labels (string/lower-case (apply str (map #(char (u8 message %)) (range (inc at) (+ at 1 length))))))
                     next)))))

(defn- read-record [message at]
  (let [[name at] (read-name message at)
        length (u16 message (+ at 8))
        from (+ at 10)]
    [{:name name :type (u16 message at) :class (u16 message (+ at 2)) :from from :to (+ from length)} (+ from length)]))

(defn- data
  "An A record's address, or a TXT record's first string."
  [message {:keys [type from to]}]
  (case type
    1 (string/join "." (map #(u8 message %) (range from to)))
    16 (apply str (map #(char (u8 message %)) (range (inc from) (min to (+ from 1 (u8 message from))))))
    nil))

(defn epoch
  "The epoch in a fence, `v=1 cluster=<id> epoch=<n>`, of this cluster."
  [cluster text]
  (let [[_ id number] (re-matches #"v=1 cluster=(\S+) epoch=(\d+)" (or text ""))]
    (when (= id cluster) (Long/parseLong number))))

(defn changes
  "What an UPDATE adds, by service: [{:service :epoch :values}]. Records of class IN are added (RFC 2136 §2.5.1). nil for
  what is no UPDATE."
  [cluster message]
  (try
    (when (update? message)
      (let [[zones prerequisites updates] (map #(u16 message %) [4 6 8])
            skip-zone (fn [at] (+ 4 (second (read-name message at))))
            after-zone (nth (iterate skip-zone 12) zones)
            skip (fn [at] (second (read-record message at)))
            start (nth (iterate skip after-zone) prerequisites)
            records (loop [at start, left updates, found []]
                      (if (zero? left)
                        found
                        (let [[record next] (read-record message at)] (recur next (dec left) (conj found record)))))
            added (filter #(= 1 (:class %)) records)
            service (fn [{:keys [name]}] (first (remove #{"_quorate"} (string/split name #"\."))))]
        (vec (for [[service records] (sort (group-by service added))]
               {:service service
                :epoch (some #(when (= 16 (:type %)) (epoch cluster (data message %))) records)
                :values (vec (keep #(when (= 1 (:type %)) (data message %)) records))}))))
    (catch IndexOutOfBoundsException _ nil)
    (catch NullPointerException _ nil)))
