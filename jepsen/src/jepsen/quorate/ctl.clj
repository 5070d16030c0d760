(ns jepsen.quorate.ctl
  "`quoratectl --output json` from the control node, and its exit codes as Jepsen's outcomes."
  (:require [clojure.data.json :as json]
            [clojure.java.shell :refer [sh]]
            [clojure.string :as str]
            [jepsen.quorate.fleet :as fleet]
            [jepsen.quorate.net :as net]))

(def port 7700)

(defn endpoint [test node] (str (net/address test node) ":" port))

(defn call
  "Runs a command against these nodes. {:exit :json :err}."
  [test nodes & words]
  (let [pki (:pki test)
        {:keys [exit out err]}
        (apply sh (concat [(str (:binaries test) "/quoratectl") "--output" "json"
                           "--node" (str/join "," (map #(endpoint test %) nodes))
                           "--ca" (str pki "/ca.crt") "--cert" (str pki "/admin-jepsen.crt") "--key" (str pki "/admin-jepsen.key")]
                          words))]
    {:exit exit :err err :json (when-not (str/blank? out) (json/read-str out :key-fn keyword))}))

(defn outcome
  "What an exit code says: 0 done; 2, 3, 4, 5, 7 and 8 nothing was changed (documented); anything else, a time-out above all,
  may or may not have happened."
  [exit]
  (case (int exit) 0 :ok (2 3 4 5 7 8) :fail :info))

(defn complete
  "The operation completed by an answer; `value` makes an :ok's value of the JSON."
  [op {:keys [exit json err]} value]
  (case (outcome exit)
    :ok (assoc op :type :ok :value (value json))
    :fail (assoc op :type :fail :error (str/trim err))
    :info (assoc op :type :info :error (str/trim err))))

(defn leader
  "The node that a quorum follows, confirmed by a linearizable read; nil when there is none."
  [test nodes]
  (let [id (get-in (call test nodes "--timeout" "2s" "member" "list") [:json :leader])
        node (fleet/node-of test id)]
    (when (and node (zero? (:exit (call test [node] "--timeout" "2s" "verdict" "list"))))
      node)))
