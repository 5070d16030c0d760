(ns quorate.selftest
  "Tests of what needs no Jepsen: the wire format, the witness and the regions. Run by tests/checkers with Debian's clojure."
  (:require [quorate.regions :as regions]
            [quorate.wire :as wire]
            [quorate.witness :as witness])
  (:import (java.io DataInputStream DataOutputStream)
           (java.net HttpURLConnection ServerSocket Socket URL)))

(def failures (atom 0))

(defn is [what expected found]
  (if (= expected found)
    (println "ok  " what)
    (do (swap! failures inc) (println "WRONG" what "\n  expected" (pr-str expected) "\n  found   " (pr-str found)))))

(defn- wire-name [name] (concat (mapcat #(cons (count %) (map int %)) (.split ^String name "\\.")) [0]))
(defn- u16 [n] [(quot n 256) (rem n 256)])
(defn- record [name type class ttl data]
  (concat (wire-name name) (u16 type) (u16 class) [0 0] (u16 ttl) (u16 (count data)) data))

(defn- update-of
  "An UPDATE with one prerequisite that replaces record and fence. The fence's name is a pointer into the zone."
  [address fence]
  (let [text (cons (count fence) (map int fence))
        body (concat (wire-name "example.test") (u16 6) (u16 1)
                     (record "app.example.test" 1 1 0 [192 0 2 10])
                     (record "app.example.test" 1 255 0 [])
                     (record "app.example.test" 1 1 60 address)
                     (concat [8] (map int "_quorate") [3] (map int "app") [0xc0 12] (u16 16) (u16 1) [0 0] (u16 60)
                             (u16 (count text)) text))]
    (vec (map unchecked-byte (concat [0 7 0x28 0] (u16 1) (u16 1) (u16 3) (u16 0) body)))))

(defn- wire-tests []
  (let [message (update-of [192 0 2 20] "v=1 cluster=jepsen epoch=12")]
    (is "an UPDATE is one" true (wire/update? message))
    (is "what it adds" [{:service "app" :epoch 12 :values ["192.0.2.20"]}] (wire/changes "jepsen" message))
    (is "another cluster's fence is none of ours" nil (:epoch (first (wire/changes "other" message))))
    (is "cut short it is nothing" (repeat 3 nil) (map #(wire/changes "jepsen" (subvec message 0 %)) [12 40 60]))
    (is "a query is no UPDATE" nil (wire/changes "jepsen" (assoc message 2 (byte 0))))))

(defn- frame! [^Socket socket message]
  (let [out (DataOutputStream. (.getOutputStream socket))]
    (.writeShort out (count message))
    (.write out (byte-array message))
    (.flush out)))

(defn- answer! [^Socket socket]
  (let [in (DataInputStream. (.getInputStream socket))
        length (.readUnsignedShort in)
        bytes (byte-array length)]
    (.readFully in bytes)
    (vec bytes)))

(defn- witness-tests []
  (let [code (atom 0)
        seen (atom 0)
        server (ServerSocket. 0)
        serving (future (while true
                          (with-open [client (.accept server)]
                            (let [question (answer! client)]
                              (swap! seen inc)
                              (frame! client (assoc question 2 (unchecked-byte 0xa8) 3 (byte @code)))))))
        witness (witness/start! {:port 0 :upstream ["127.0.0.1" (.getLocalPort server)] :cluster "jepsen" :node-of (constantly 3)})
        ask (fn [message]
              (with-open [socket (Socket. "127.0.0.1" (int (:port witness)))]
                (.setSoTimeout socket 5000)
                (frame! socket message)
                (try (wire/rcode (answer! socket)) (catch java.io.EOFException _ :closed))))
        message (update-of [192 0 2 20] "v=1 cluster=jepsen epoch=2")
        outcomes (fn [] (map #(get-in % [:value :outcome]) @(:log witness)))]
    (is "an UPDATE goes through" 0 (ask message))
    (is "and is recorded" [:taken 3 2] ((juxt :outcome :from :epoch) (:value (first @(:log witness)))))
    (reset! code 8)
    (is "a refusal goes through" 8 (ask message))
    (witness/set-fault! witness {:kind :error})
    (is "an error comes from the witness" 2 (ask message))
    (witness/set-fault! witness {:kind :busy})
    (is "busy closes" :closed (ask message))
    (is "and neither was delivered" 2 @seen)
    (reset! code 0)
    (witness/set-fault! witness {:kind :drop-answer})
    (is "an answer that is dropped" :closed (ask message))
    (is "was carried out" [:taken :refused :undelivered :undelivered :taken] (outcomes))
    (witness/stop! witness)
    (future-cancel serving)
    (.close server)))

(defn- region-tests []
  (let [region (regions/start! "west")
        ask (fn []
              (let [connection ^HttpURLConnection (.openConnection (URL. (str "http://127.0.0.1:" (:port region) "/health")))]
                (.setReadTimeout connection 500)
                (try (.getResponseCode connection)
                     (catch java.net.SocketTimeoutException _ :timeout)
                     (catch java.io.IOException _ :closed))))]
    (is "a region that is up" 200 (ask))
    (regions/set-health! region :hang)
    (is "one that hangs" :timeout (ask))
    (regions/set-health! region :closed)
    (is "one that is dead" :closed (ask))
    (regions/stop! region)))

(defn -main [& _]
  (wire-tests)
  (witness-tests)
  (region-tests)
  (flush)
  (System/exit (if (zero? @failures) 0 1)))
